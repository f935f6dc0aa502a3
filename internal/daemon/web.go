package daemon

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/coordd/coordd/internal/console"
)

// startWeb serves the HTTP address, which is bound already.
func (d *Daemon) startWeb() {
	handler := console.Handler(console.Config{Ready: d.checks(), Status: d.svc.Status, Pprof: d.cfg.Pprof,
		Metrics: promhttp.HandlerFor(d.metrics.Gatherer(), promhttp.HandlerOpts{EnableOpenMetrics: true, MaxRequestsInFlight: 4, Timeout: 10 * time.Second})})
	d.web = &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 16 << 10, ErrorLog: d.log.Named("http").StandardLogger(&hclog.StandardLoggerOptions{ForceLevel: hclog.Debug})}
	d.webConns = newWebConns(maxWebConns)
	d.web.ConnState = d.webConns.changed
	d.webOK = make(chan struct{})
	go func() {
		defer close(d.webOK)
		if err := d.web.Serve(d.webAt); !errors.Is(err, http.ErrServerClosed) {
			d.fail(fmt.Errorf("http: %w", err))
		}
	}()
}

// stopWeb ends the HTTP server; what is under way gets the time for open connections.
func (d *Daemon) stopWeb(ctx context.Context) error {
	if d.web == nil {
		if d.webAt == nil {
			return nil
		}
		return d.webAt.Close()
	}
	ctx, cancel := context.WithTimeout(ctx, d.cfg.GracefulStopTimeout)
	defer cancel()
	err := d.web.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = d.web.Close() // a client that keeps its connection open is no reason to wait
	}
	<-d.webOK
	return err
}

// httpURL is where others reach the HTTP address.
func (d *Daemon) httpURL() string {
	if d.cfg.HTTPAdvertise != "" {
		return "http://" + d.cfg.HTTPAdvertise
	}
	return "http://" + d.webAt.Addr().String()
}

// natsURL is where clients reach NATS.
func (d *Daemon) natsURL() string {
	if d.nats != nil {
		return d.nats.ClientURL()
	}
	return withoutUser(d.cfg.NATSExternal)
}
