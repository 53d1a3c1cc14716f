package extproc

import (
	"context"
	"strconv"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/envoy/names"
	"github.com/shunt-gateway/shunt/extproc/billing"
	"github.com/shunt-gateway/shunt/extproc/openai"
	"github.com/shunt-gateway/shunt/policy"
	"github.com/shunt-gateway/shunt/policy/sticky"
)

// Decider is what a request needs of the world. Its fields are set once, before
// the first request.
type Decider struct {
	Live *Live
	// Hasher makes the keyed hash that stands for a caller everywhere else (BILL-6).
	Hasher *billing.Hasher
	Source string // this instance, as events name it
	// Prefs and Sticky may be nil: nothing is saved then. Keyer goes with Sticky.
	Prefs  Saved
	Sticky sticky.Store
	Keyer  *sticky.Keyer
	// Admit keeps the quote of a request that is about to be admitted, whatever
	// crashes then (BILL-1). After an error the request is answered 503 overloaded.
	// Nil: nothing is kept.
	Admit   func(id string, quote []byte) error
	Flights Flights // nil: nobody counts
	Now     func() time.Time
	Rand    func() uint64
}

// requestSession decides one request.
type requestSession struct {
	ctx     context.Context // of the stream
	decider *Decider
	in      intake
	seen    Outcome
	out     []*extprocv3.ProcessingResponse
}

func (s *requestSession) push(m *extprocv3.ProcessingRequest) (bool, error) {
	complete, err := s.in.add(m)
	if err != nil || !complete {
		return false, err
	}
	if s.in.trailers {
		s.seen.Refusal = errTrailers
		s.out = []*extprocv3.ProcessingResponse{refuse(errTrailers)}
		return true, nil
	}
	rq, refusal := s.decider.decide(s.in.headers, s.in.body, &s.seen)
	if refusal == nil {
		if err := s.ctx.Err(); err != nil {
			s.decider.cancel(rq)
			return false, err // Envoy has given the request up: it is not admitted
		}
		if refusal, s.seen.Cause = s.decider.admit(rq); refusal != nil {
			s.decider.cancel(rq)
		}
	}
	if refusal != nil {
		s.seen.Refusal = refusal
		s.out = []*extprocv3.ProcessingResponse{refuse(refusal)}
		return true, nil
	}
	s.out = s.in.answer(rq.head(), rq.body)
	return true, nil
}

var errTrailers = &policy.Error{Status: 400, Code: "bad_request", Message: "the request has trailers, which this API does not take"}

func (s *requestSession) answers() []*extprocv3.ProcessingResponse { return s.out }

// routed is a request that was admitted: what Envoy is told about it.
type routed struct {
	id        string
	api       catalog.API
	query     string // with its question mark, or ""
	decision  *policy.Decision
	quote     []byte
	body      []byte // attempt 1's
	stream    bool
	wantUsage bool // usage is asked of providers, and the client did not ask
	askUsage  bool // attempt 1's body asks for it
	timeouts  timeouts
	explain   string
	sticky    string // key of the conversation, where its provider is to be remembered

	second, deadline int64            // see plan
	catalog          string           // see plan
	usable           map[string]int64 // see names.KeyUsable
}

// reading is a request as it was understood, with the snapshot that all of it is
// decided by.
type reading struct {
	snap    *policy.Snapshot
	budget  *Budget
	headers headers
	limits  limits
	api     catalog.API
	object  openai.Object
	req     *policy.Request
}

// read makes sense of a request or refuses it.
func (d *Decider) read(h *extprocv3.HttpHeaders, body []byte) (rd reading, refusal *policy.Error) {
	world := d.Live.Load()
	if world == nil {
		return rd, &policy.Error{Status: 503, Code: openai.CodeOverloaded, Message: "starting up; try again"}
	}
	rd.snap, rd.budget = world.Snapshot, world.Budget
	rd.headers = readHeaders(h, world.Identity)
	var ok bool
	if rd.api, ok = catalog.APIOf(rd.headers.path); !ok {
		return rd, &policy.Error{Status: 404, Code: openai.CodeNotFound, Message: "no such endpoint"}
	}
	var err error
	if rd.object, err = openai.Scan(body); err != nil {
		return rd, &policy.Error{Status: 400, Code: policy.CodeInvalidJSON, Message: "invalid request body: " + err.Error()}
	}
	in := input(rd.api, &rd.headers, &rd.object)
	if rd.req, refusal = policy.Read(&in, rd.snap.Catalog); refusal != nil {
		return rd, refusal
	}
	rd.req.Subscriber = rd.headers.caller.Subscriber
	rd.limits, refusal = readLimits(&rd.headers, &rd.snap.Catalog.Routing)
	return rd, refusal
}

// decide reads, decides, quotes and rewrites. What it finds out goes into seen.
func (d *Decider) decide(h *extprocv3.HttpHeaders, body []byte, seen *Outcome) (*routed, *policy.Error) {
	rd, refusal := d.read(h, body)
	seen.RequestID, seen.API = rd.headers.id, rd.api
	if refusal != nil {
		return nil, refusal
	}
	now := d.Now()
	rd.req.Preferences = d.preferences(&rd.headers.caller, rd.snap.Catalog)
	stickyKey := d.recall(&rd, now)
	dec, refusal := d.choose(&rd, now)
	seen.Snapshot, seen.Decision = rd.snap, dec
	if refusal != nil {
		return nil, refusal
	}
	rq := &routed{id: rd.headers.id, api: rd.api, query: rd.headers.query, decision: dec, stream: openai.StreamRequested(&rd.object), sticky: stickyKey}
	seen.Stream = rq.stream
	if rd.budget != nil {
		rd.budget.Grant(dec, now)
	}
	rq.limit(&rd, now)
	rq.rewrite(&rd.object)
	rq.quote = d.quote(rq, &rd, now, len(body))
	if rd.headers.explain && rd.snap.Catalog.Routing.Explain {
		rq.explain = policy.Explain(rd.req, dec, rd.snap).Header(explainLimit)
	}
	return rq, nil
}

// admit makes sure that the request will be billed (BILL-1). From here on it is
// admitted. cause is why it is not.
func (d *Decider) admit(rq *routed) (refusal *policy.Error, cause error) {
	if d.Admit == nil {
		return nil, nil
	}
	if cause = d.Admit(rq.id, rq.quote); cause == nil {
		return nil, nil
	}
	return &policy.Error{Status: 503, Code: openai.CodeOverloaded, Message: "requests cannot be recorded at the moment; try again"}, cause
}

// explainLimit bounds the explanation in a response header, in bytes.
const explainLimit = 4096

// filterFields are read by shunt and sent to no provider (REQ-1).
var filterFields = [...]string{
	"provider", "models", "variant_id", "caching", "stickyprovider", "stickyProvider", "billing_mode",
}

// rewrite makes the body of the first attempt.
func (rq *routed) rewrite(o *openai.Object) {
	first := rq.decision.Attempts[0].Offer
	edits := make([]openai.Edit, 0, len(filterFields)+3)
	edits = append(edits, openai.Rename("model_id", "model"))
	edits = append(edits, openai.Set("model", openai.AppendString(nil, first.Upstream)))
	for _, f := range filterFields {
		if _, ok := o.Get(f); ok {
			edits = append(edits, openai.Remove(f))
		}
	}
	if rq.stream && rq.api != catalog.Responses {
		ask, asked := openai.AskUsage(o)
		if !asked {
			rq.wantUsage = true
			if first.StreamUsage {
				rq.askUsage = true
				edits = append(edits, ask)
			}
		}
	}
	raw := o.Raw()
	rq.body = openai.Rewrite(make([]byte, 0, len(raw)+len(first.Upstream)+64), o, edits)
}

// upstreamPath is an offer's path for this request (FALL-2).
func (rq *routed) upstreamPath(o *catalog.Offer) string {
	return o.Provider.Endpoint.Path + rq.api.UpstreamPath() + rq.query
}

// head is the answer to the request's headers. The router picks the cluster as
// soon as it arrives, so everything that routing needs is in it.
func (rq *routed) head() *extprocv3.ProcessingResponse {
	first := rq.decision.Attempts[0].Offer
	set := []*corev3.HeaderValueOption{
		setHeader(names.HeaderRoute, names.Route(rq.timeouts.silence)),
		setHeader(":path", rq.upstreamPath(first)),
		setHeader("content-length", strconv.Itoa(len(rq.body))),
		setHeader("x-envoy-max-retries", strconv.Itoa(len(rq.decision.Attempts)-1)),
		setHeader("x-envoy-upstream-rq-per-try-timeout-ms", strconv.FormatInt(rq.timeouts.perTry().Milliseconds(), 10)),
	}
	if wait := rq.timeouts.wait(0, first.Provider); wait > 0 {
		set = append(set, waitHeaders(untilDeadline(wait, rq.timeouts.left()))...)
	}
	r := headersResponse(&extprocv3.CommonResponse{
		ClearRouteCache: true,
		HeaderMutation:  &extprocv3.HeaderMutation{SetHeaders: set},
	})
	r.DynamicMetadata = rq.metadata()
	return r
}

// metadata is what travels with the request inside Envoy.
func (rq *routed) metadata() *structpb.Struct {
	groups := make([]*structpb.Value, len(rq.decision.Attempts))
	for i, a := range rq.decision.Attempts {
		name := a.Offer.Provider.Slug
		if rq.timeouts.timed(i, a.Offer.Provider) {
			name = names.TimedGroup(name)
		}
		groups[i] = structpb.NewStructValue(&structpb.Struct{Fields: map[string]*structpb.Value{
			"name": structpb.NewStringValue(name),
		}})
	}
	f := map[string]*structpb.Value{
		names.KeyPriorityGroups: structpb.NewListValue(&structpb.ListValue{Values: groups}),
		names.KeyQuote:          structpb.NewStringValue(string(rq.quote)),
	}
	if len(groups) > 1 {
		f[names.KeyPlan] = structpb.NewStringValue(string(appendPlan(nil, rq.decision, rq)))
	}
	if rq.sticky != "" {
		f[names.KeySticky] = structpb.NewStringValue(rq.sticky)
	}
	if rq.explain != "" {
		f[names.KeyExplain] = structpb.NewStringValue(rq.explain)
	}
	all := map[string]*structpb.Value{names.Namespace: structpb.NewStructValue(&structpb.Struct{Fields: f})}
	if a := rq.aboutAnswer(); len(a) > 0 {
		all[names.AnswerNamespace] = structpb.NewStructValue(&structpb.Struct{Fields: a})
	}
	return &structpb.Struct{Fields: all}
}

// aboutAnswer is what the response filter is told.
func (rq *routed) aboutAnswer() map[string]*structpb.Value {
	f := map[string]*structpb.Value{}
	if rq.wantUsage {
		f[names.KeyStripUsage] = structpb.NewBoolValue(true)
	}
	if rq.usable != nil {
		f[names.KeyUsable] = numbers(rq.usable)
	}
	return f
}
