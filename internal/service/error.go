package service

import (
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
)

// longestHeader bounds the text in a header; the body has all of it.
const longestHeader = 200

// errorHeader makes the headers that NATS's own tools look for.
func errorHeader(e *coorddv1.Error) nats.Header {
	text := e.Code + ": " + plainSpaces(e.Message)
	if len(text) > longestHeader {
		text = text[:longestHeader]
	}
	return nats.Header{coorddv1.ErrorHeader: {text}, coorddv1.ErrorCodeHeader: {strconv.Itoa(int(e.Number))}}
}

// stale verbs are answered by any node and counted by none.
func (v *verb) stale() bool { return v == staleGet || v == staleList }

func setAge(m proto.Message, age time.Duration) {
	switch m := m.(type) {
	case *coorddv1.LockGetReply:
		m.Age = durationpb.New(age)
	case *coorddv1.LockListReply:
		m.Age = durationpb.New(age)
	}
}
