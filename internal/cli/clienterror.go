package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	coorddv1 "github.com/coordd/coordd/api/coordd/v1"
	"github.com/coordd/coordd/pkg/client"
)

// connect returns a client of the Go library.
func (c *clientFlags) connect(ctx context.Context, opts ...client.Option) (*client.Client, error) {
	credentials, err := c.credentials()
	if err != nil {
		return nil, err
	}
	opts = append([]client.Option{client.WithNamespace(c.namespace), client.WithTimeout(c.timeout), client.WithNATSOptions(append(credentials, c.orderOptions()...)...)}, opts...)
	cl, err := client.Connect(ctx, strings.Join(c.servers(), ","), opts...)
	if err != nil {
		return nil, c.connectFailure(err)
	}
	return cl, nil
}

// diagnose finds out why nobody answers, on a connection of its own.
func (c *clientFlags) diagnose(ctx context.Context, cause error) error {
	quick := &clientFlags{urls: c.urls, urlFlag: c.urlFlag, timeout: time.Second, user: c.user, password: c.password, creds: c.creds, nkey: c.nkey,
		tlsCA: c.tlsCA, tlsCert: c.tlsCert, tlsKey: c.tlsKey}
	nc, err := quick.dial(context.WithoutCancel(ctx))
	if err != nil {
		return err
	}
	defer nc.Close()
	return c.noAnswer(nc, cause)
}

// clientFailure turns an error of pkg/client into how this process ends.
func (c *clientFlags) clientFailure(ctx context.Context, err error) error {
	var locked *client.LockedError
	var e *client.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &locked):
		return &failure{exit: exitConflict, message: lockedText(locked), err: err, body: lockedBody(locked)}
	case errors.As(err, &e):
		info, ok := coorddv1.LookupCode(e.Code)
		if !ok {
			info.Exit = exitError
		}
		if info.Exit == exitUnreachable {
			return c.diagnose(ctx, err)
		}
		return &failure{exit: info.Exit, err: err, body: &errorBody{Code: e.Code, Number: e.Number, Retryable: e.Retryable, Leader: e.Leader}}
	case errors.Is(err, client.ErrDenied):
		return &failure{exit: exitDenied, code: coorddv1.CodeDenied, err: err}
	case errors.Is(err, client.ErrWaitTimeout):
		return &failure{exit: exitConflict, code: coorddv1.CodeWaitTimeout, err: err}
	case errors.Is(err, client.ErrNoLeader), errors.Is(err, client.ErrTimeout), errors.Is(err, context.DeadlineExceeded):
		return c.diagnose(ctx, err)
	}
	return err
}

// lockedText says who has a lock.
func lockedText(l *client.LockedError) string {
	who := l.Holder
	if who == "" {
		who = "somebody"
	}
	text := fmt.Sprintf("lock %q is held by %s (fence %d", l.Name, columnText(who), l.Fence)
	if l.ExpiresIn > 0 {
		text += fmt.Sprintf(", %.1f s left", l.ExpiresIn.Seconds())
	}
	return text + ")"
}

func lockedBody(l *client.LockedError) *errorBody {
	info, _ := coorddv1.LookupCode(coorddv1.CodeLocked)
	b := &errorBody{Code: info.Code, Number: int(info.Number), Retryable: info.Retryable}
	var e *client.Error
	if errors.As(l, &e) {
		b.Leader = e.Leader
	}
	d := &coorddv1.ErrorDetails{Holder: l.Holder, Fence: l.Fence, Queue: uint64(l.Queue), ExpiresIn: durationpb.New(max(l.ExpiresIn, 0))}
	b.Details, _ = documentFrom(d) // plain fields
	return b
}
