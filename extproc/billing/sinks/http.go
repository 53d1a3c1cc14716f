package sinks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/tidwall/sjson"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/extproc/billing"
)

// Media types of CloudEvents in JSON.
const (
	typeOne   = "application/cloudevents+json"
	typeBatch = "application/cloudevents-batch+json"
)

// httpSink posts events to a receiver of CloudEvents in structured mode. Every 2xx
// is an acknowledgement. Statuses are sorted by whom they are about: 400, 409, 413, 415
// and 422 refuse the event; a 500, which may be about it, is returned after a few tries;
// everything else, a wrong token and no answer at all included, is an outage, which is
// waited out.
type httpSink struct {
	*outages
	cfg     *catalog.HTTPSink
	resolve Resolver
	client  *http.Client
}

// errorTries is how often a receiver may answer an error that may be the event's
// fault before the error is returned.
const errorTries = 3

func openHTTP(cfg *catalog.HTTPSink, resolve Resolver, log *slog.Logger) (*httpSink, error) {
	t, err := tlsConfig(&cfg.TLS)
	if err != nil {
		return nil, err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = t
	return &httpSink{
		outages: newOutages(log), cfg: cfg, resolve: resolve,
		client: &http.Client{
			Transport: transport, Timeout: cfg.Timeout,
			// Credentials are for this receiver, not for one that it points to.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// Deliver implements billing.Sink.
func (s *httpSink) Deliver(ctx context.Context, m billing.Message) error { return one(ctx, s, m) }

// Close implements billing.Sink.
func (s *httpSink) Close(context.Context) error {
	s.end()
	s.client.CloseIdleConnections()
	return nil
}

// DeliverAll implements billing.Batcher. A batch that is refused is taken apart, so
// that one event does not take others along.
func (s *httpSink) DeliverAll(ctx context.Context, ms []billing.Message) []error {
	var errs []error
	for from := 0; from < len(ms); from += s.cfg.Batch {
		to := min(from+s.cfg.Batch, len(ms))
		for i, err := range s.batch(ctx, ms[from:to]) {
			if err == nil {
				continue
			}
			if errs == nil {
				errs = make([]error, len(ms))
			}
			errs[from+i] = err
		}
	}
	return errs
}

func (s *httpSink) batch(ctx context.Context, ms []billing.Message) []error {
	err := s.post(ctx, ms)
	var status *statusError
	if len(ms) == 1 || !errors.As(err, &status) || !status.aboutEvents() {
		return all(len(ms), err)
	}
	half := len(ms) / 2
	left, right := s.batch(ctx, ms[:half]), s.batch(ctx, ms[half:])
	if left == nil && right == nil {
		return nil
	}
	errs := make([]error, len(ms))
	copy(errs, left)
	copy(errs[half:], right)
	return errs
}

// post delivers ms in one request, waiting out outages.
func (s *httpSink) post(ctx context.Context, ms []billing.Message) error {
	body, kind, err := s.encode(ms)
	if err != nil {
		return err
	}
	failed := 0
	return s.persist(ctx, func() (time.Duration, error) {
		wait, err := s.send(ctx, body, kind)
		var status *statusError
		if errors.As(err, &status) && status.code == http.StatusInternalServerError {
			if failed++; failed < errorTries {
				return wait, fmt.Errorf("%w: %w", errOutage, err)
			}
		}
		return wait, err
	})
}

// encode is the request's body and media type.
func (s *httpSink) encode(ms []billing.Message) (body []byte, kind string, err error) {
	named := func(m *billing.Message) ([]byte, error) {
		if s.cfg.Anonymous == "" || attribute(m, "subject") != "" {
			return m.Body, nil
		}
		b, err := sjson.SetBytes(m.Body, "subject", s.cfg.Anonymous)
		if err != nil {
			return nil, fmt.Errorf("%w: event %q is not JSON: %w", billing.ErrRefused, m.ID, err)
		}
		return b, nil
	}
	if s.cfg.Batch == 1 {
		body, err = named(&ms[0])
		return body, typeOne, err
	}
	body = append(body, '[')
	for i := range ms {
		b, err := named(&ms[i])
		if err != nil {
			return nil, "", err
		}
		if i > 0 {
			body = append(body, ',')
		}
		body = append(body, b...)
	}
	return append(body, ']'), typeBatch, nil
}

// send makes one request. wait is how long the receiver asks to be left alone.
func (s *httpSink) send(ctx context.Context, body []byte, kind string) (wait time.Duration, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.cfg.URL, bytes.NewReader(body))
	if err != nil {
		return 0, errors.New("the URL is not one that can be posted to")
	}
	req.Header.Set("Content-Type", kind)
	for _, h := range s.cfg.Headers {
		value, err := s.resolve(h.Value) // each time: a token in a file may be renewed
		if err != nil {
			return 0, fmt.Errorf("%w: header %s: %w", errOutage, h.Name, err)
		}
		req.Header.Set(h.Name, value)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err // it shows the URL
		}
		if ctx.Err() != nil {
			return 0, fmt.Errorf("post: %w", ctx.Err())
		}
		return 0, fmt.Errorf("%w: %w", errOutage, err)
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) // so that the connection can be used again
	if resp.StatusCode >= 200 && resp.StatusCode <= 299 {
		return 0, nil
	}
	return retryAfter(resp.Header, time.Now()), (&statusError{code: resp.StatusCode}).sorted()
}

// longestRetryAfter bounds what a receiver may ask for.
const longestRetryAfter = 15 * time.Minute

// retryAfter is how long the answer asks us to wait: seconds, or a date.
func retryAfter(h http.Header, now time.Time) time.Duration {
	text := h.Get("Retry-After")
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		return min(time.Duration(seconds)*time.Second, longestRetryAfter)
	}
	if at, err := http.ParseTime(text); err == nil {
		return min(max(at.Sub(now), 0), longestRetryAfter)
	}
	return 0
}

// statusError is an answer that acknowledges nothing.
type statusError struct{ code int }

// Error implements error.
func (e *statusError) Error() string {
	return fmt.Sprintf("the receiver answered %d %s", e.code, http.StatusText(e.code))
}

// aboutEvents: another event, or fewer of them, may fare better, and the same again
// will not.
func (e *statusError) aboutEvents() bool {
	switch e.code {
	case http.StatusBadRequest, http.StatusConflict, http.StatusRequestEntityTooLarge,
		http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity:
		return true
	}
	return false
}

// sorted says with which of the package's errors the status goes.
func (e *statusError) sorted() error {
	switch {
	case e.aboutEvents():
		return fmt.Errorf("%w: %w", billing.ErrRefused, e)
	case e.code == http.StatusInternalServerError:
		return e
	}
	return fmt.Errorf("%w: %w", errOutage, e)
}
