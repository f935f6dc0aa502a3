package cli

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
)

var (
	namespaceName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
	plainToken    = regexp.MustCompile(`^[A-Za-z0-9_/=-]+$`)
)

// nameToken returns the token of a subject that stands for a name.
func nameToken(name string) string {
	if plainToken.MatchString(name) {
		return name
	}
	return "~" + base64.RawURLEncoding.EncodeToString([]byte(name))
}

// subject returns the subject of a verb in the namespace, with a name if there is one.
func (c *clientFlags) subject(verb string, name ...string) string {
	s := "coord.v1." + c.namespace + "." + verb
	for _, n := range name {
		s += "." + nameToken(n)
	}
	return s
}

const clusterStatusSubject = "coord.cluster.v1.status"

// request asks the leader and reads its answer into reply. Only reads and requests that may be executed
// twice come this way: it repeats them while there is no leader, until --timeout is over.
func (c *clientFlags) request(ctx context.Context, nc *nats.Conn, subject string, req, reply proto.Message) error {
	return c.requestUnless(ctx, nc, subject, req, reply, "")
}

// requestUnless is request, but does not repeat at the code final, even if that is retryable.
func (c *clientFlags) requestUnless(ctx context.Context, nc *nats.Conn, subject string, req, reply proto.Message, final string) error {
	return c.requestWithin(ctx, nc, subject, req, reply, final, c.timeout)
}

// requestWithin is requestUnless with a limit of its own.
func (c *clientFlags) requestWithin(ctx context.Context, nc *nats.Conn, subject string, req, reply proto.Message, final string, limit time.Duration) error {
	body, err := proto.Marshal(req)
	if err != nil {
		return fmt.Errorf("encode request: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var msg *nats.Msg
	var e *serviceError
	here := time.Now()
	err = retry(ctx, func() (again bool, err error) {
		// Shorter than the whole, because a leader that stalled answers nothing while the next one would.
		one, cancel := context.WithTimeout(ctx, max(c.timeout/3, 200*time.Millisecond))
		defer cancel()
		if msg, err = nc.RequestWithContext(one, subject, body); err != nil {
			if errors.Is(err, nats.ErrNoResponders) && time.Since(here) > electionPatience {
				moveOn(nc)
				here = time.Now()
			}
			return !errors.Is(err, nats.ErrConnectionClosed) && ctx.Err() == nil, err
		}
		err = serviceFailure(msg)
		if errors.As(err, &e) && e.body.GetRetryable() && e.body.GetCode() != final {
			return true, err
		}
		return false, err
	})
	switch {
	case errors.As(err, &e):
		return e.failure()
	case err != nil:
		return c.noAnswer(nc, err)
	}
	if err := proto.Unmarshal(msg.Data, reply); err != nil {
		return fmt.Errorf("the answer on %s is not coordd's: %w", subject, err)
	}
	return nil
}

// serviceError is an error that a node answered.
type serviceError struct{ body *coorddv1.Error }

func (e *serviceError) Error() string { return e.body.GetMessage() }

// serviceFailure returns the error that a message holds, nil if it is an answer.
func serviceFailure(msg *nats.Msg) error {
	if msg.Header.Get(coorddv1.ErrorHeader) == "" && msg.Header.Get(coorddv1.ErrorCodeHeader) == "" {
		return nil
	}
	var r coorddv1.ErrorReply
	var err error
	if bytes.HasPrefix(msg.Data, []byte("{")) {
		err = protojson.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(msg.Data, &r)
	} else {
		err = proto.Unmarshal(msg.Data, &r)
	}
	if err != nil || r.GetError() == nil {
		return &serviceError{coorddv1.NewError(coorddv1.CodeInternal, msg.Header.Get(coorddv1.ErrorHeader))}
	}
	return &serviceError{r.GetError()}
}

// codeSuffix is the end of a message for people that names the code.
func codeSuffix(code string) string { return " (" + code + ")" }

// failure turns a node's error into how this process ends.
func (e *serviceError) failure() error {
	info, _ := coorddv1.LookupCode(e.body.GetCode())
	if info.Exit == 0 {
		info.Exit = exitError
	}
	text := e.body.GetMessage()
	if !strings.Contains(text, e.body.GetCode()) {
		text += codeSuffix(e.body.GetCode())
	}
	b := &errorBody{Code: e.body.GetCode(), Number: int(e.body.GetNumber()), Retryable: e.body.GetRetryable(), Leader: e.body.GetLeader()}
	if d := e.body.GetDetails(); d != nil {
		b.Details, _ = jsonOptions.Marshal(d) // always encodable
	}
	return &failure{exit: info.Exit, message: text, body: b, err: e}
}

// noAnswer finds out why nobody answered: no connection, a permission, somebody else's NATS, or no leader.
func (c *clientFlags) noAnswer(nc *nats.Conn, cause error) error {
	if v := c.violation.Load(); v != nil {
		return &failure{exit: exitDenied, code: "DENIED", err: fmt.Errorf("NATS at %s: %s", c.server(), *v)}
	}
	if !nc.IsConnected() {
		return unreachablef("the connection to %s is gone and did not come back", c.server())
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	nodes, err := collectStatus(ctx, nc, 1)
	if errors.Is(err, nats.ErrNoResponders) {
		return &failure{exit: exitUnreachable, code: "TIMEOUT", err: fmt.Errorf("the NATS server at %s is there, but no coordd is behind it: "+
			"it is somebody else's, or its nodes are all down (--nats-url)", c.server())}
	}
	if len(nodes) == 0 {
		return unreachablef("no answer from %s within %v: %w", c.server(), c.timeout, cause)
	}
	var who []string
	leader := ""
	for _, n := range nodes {
		who = append(who, n.GetName()+" is "+n.GetRole())
		if n.GetRole() == "leader" {
			leader = n.GetName()
		}
	}
	if leader != "" {
		return unreachablef("leader %s did not answer within %v", leader, c.timeout)
	}
	slices.Sort(who)
	return &failure{exit: exitUnreachable, code: "NOT_LEADER", err: fmt.Errorf("no leader for %v (%s); is a majority of the nodes up? `coordd status` shows them",
		c.timeout, strings.Join(who, ", "))}
}

var jsonOptions = protojson.MarshalOptions{UseProtoNames: true, EmitDefaultValues: true}

// documentFrom returns the JSON form of a message, in the order of its fields.
func documentFrom(m proto.Message) (json.RawMessage, error) {
	b, err := jsonOptions.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode answer: %w", err)
	}
	var out bytes.Buffer
	if err := json.Compact(&out, b); err != nil {
		return nil, fmt.Errorf("encode answer: %w", err)
	}
	return out.Bytes(), nil
}
