package service

import (
	"bytes"
	"encoding/json"
	"errors"
	"regexp"
	"strings"
	"unicode"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
)

// isJSON tells the two formats of a body apart: no message of ours begins with '{' in protobuf (0x7b is
// field 15 with the wire type "start group").
func isJSON(body []byte) bool { return len(body) > 0 && body[0] == '{' }

// decodeBody reads a body into m. What a message does not know is an error in both formats: a field that was
// silently left out might have been the one that makes a request safe.
func decodeBody(body []byte, m proto.Message) *coorddv1.Error {
	if isJSON(body) {
		return decodeJSON(body, m)
	}
	if err := proto.Unmarshal(body, m); err != nil {
		return badRequest("the body is neither a JSON object nor the protobuf message %s", m.ProtoReflect().Descriptor().FullName())
	}
	if unknown := m.ProtoReflect().GetUnknown(); len(unknown) > 0 {
		num, _, _ := protowire.ConsumeField(unknown)
		return badRequest("unknown field number %d in %s (or the body is not protobuf; JSON begins with {)",
			max(num, 0), m.ProtoReflect().Descriptor().FullName())
	}
	return nil
}

var unknownField = regexp.MustCompile(`unknown field "([^"]*)"`)

func decodeJSON(body []byte, m proto.Message) *coorddv1.Error {
	err := protojson.Unmarshal(body, m)
	if err == nil {
		return nil
	}
	if f := unknownField.FindStringSubmatch(err.Error()); f != nil {
		return badRequest("unknown field %s", quote(f[1]))
	}
	text := plainSpaces(strings.TrimPrefix(plainSpaces(err.Error()), "proto: "))
	if strings.Contains(text, "google.protobuf.Duration") {
		text += ` (a duration is written as "15s" or "0.5s")`
	}
	return badRequest("the JSON body is not right: %s", text)
}

// plainSpaces replaces the odd spaces that protobuf puts into its messages on purpose, and anything that does
// not belong into a header.
func plainSpaces(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) || unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s)
}

var jsonOptions = protojson.MarshalOptions{UseProtoNames: true, EmitDefaultValues: true}

// encodeBody writes m in the format that was asked for.
func encodeBody(m proto.Message, asJSON bool) ([]byte, error) {
	if !asJSON {
		return proto.Marshal(m)
	}
	b, err := jsonOptions.Marshal(m)
	if err != nil {
		return nil, err
	}
	// protojson varies its white space from build to build.
	var out bytes.Buffer
	out.Grow(len(b))
	if err := json.Compact(&out, b); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

var errNotObject = errors.New("not a JSON object")

// splitObject reads the fields of one JSON object without looking into them. A field that comes twice is an
// error, as it is to protojson.
func splitObject(body []byte) (map[string]json.RawMessage, error) {
	d := json.NewDecoder(bytes.NewReader(body))
	if t, err := d.Token(); err != nil {
		return nil, err
	} else if t != json.Delim('{') {
		return nil, errNotObject
	}
	fields := make(map[string]json.RawMessage)
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, err
		}
		key, _ := t.(string)
		var v json.RawMessage
		if err := d.Decode(&v); err != nil {
			return nil, err
		}
		if _, ok := fields[key]; ok {
			return nil, errors.New("the field " + quote(key) + " comes twice")
		}
		fields[key] = v
	}
	if _, err := d.Token(); err != nil {
		return nil, err
	}
	if d.More() {
		return nil, errors.New("something follows the JSON object")
	}
	return fields, nil
}
