package conformance

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/policy"
)

// Result is what package policy made of a case.
type Result struct {
	Request  *policy.Request // nil where Read refused
	Snapshot *policy.Snapshot
	Decision *policy.Decision
	Refusal  *policy.Error
}

// Decide runs the case against package policy, at now.
func (c *Case) Decide(cat *catalog.Catalog, now time.Time) (*Result, error) {
	in, err := c.Input()
	if err != nil {
		return nil, err
	}
	var r Result
	if r.Snapshot, err = c.State.snapshot(cat, now); err != nil {
		return nil, err
	}
	if r.Request, r.Refusal = policy.Read(in, cat); r.Refusal != nil {
		return &r, nil
	}
	if err := c.State.apply(r.Request, cat); err != nil {
		return nil, err
	}
	r.Decision, r.Refusal = policy.Decide(r.Request, r.Snapshot, now, 0)
	return &r, nil
}

// Input is the request as the filter would read it.
func (c *Case) Input() (*policy.Input, error) {
	api, ok := catalog.APIOf(c.Path)
	if !ok {
		return nil, fmt.Errorf("%s is not routed", c.Path)
	}
	var body map[string]json.RawMessage
	if err := json.Unmarshal(c.Body, &body); err != nil {
		return nil, fmt.Errorf("body: %w", err)
	}
	in := &policy.Input{
		API: api, Path: c.Path,
		Model: body["model"], ModelID: body["model_id"], VariantID: body["variant_id"],
		Provider: body["provider"], Models: body["models"], Engine: body["engine"],
		Caching: body["caching"], StickyLower: body["stickyprovider"], StickyCamel: body["stickyProvider"],
		BillingMode: body["billing_mode"],
	}
	for key, value := range body {
		if set, ok := catalog.Param(key); ok && string(value) != "null" {
			in.Params |= set
		}
	}
	for _, h := range c.Headers {
		switch strings.ToLower(h.Name) {
		case "x-provider":
			in.XProvider = append(in.XProvider, h.Value)
		case "x-variant-id":
			in.XVariantID = append(in.XVariantID, h.Value)
		case "x-billing-mode":
			in.XBillingMode = append(in.XBillingMode, h.Value)
		}
	}
	return in, nil
}

func (s *State) snapshot(cat *catalog.Catalog, now time.Time) (*policy.Snapshot, error) {
	health := make([]policy.OfferHealth, len(cat.Offers()))
	for pair, left := range s.Cooling {
		o, err := offer(cat, pair)
		if err != nil {
			return nil, err
		}
		health[o.Index].CoolingTill = now.Add(left)
	}
	for pair, m := range s.Measured {
		o, err := offer(cat, pair)
		if err != nil {
			return nil, err
		}
		health[o.Index].TTFT, health[o.Index].Throughput = m.TTFT, m.Throughput
	}
	return &policy.Snapshot{Catalog: cat, Health: policy.NewHealth(health)}, nil
}

// apply adds to req what its caller knows beside it.
func (s *State) apply(req *policy.Request, cat *catalog.Catalog) (err error) {
	req.Subscriber = s.Subscriber
	if s.Sticky != "" && req.WantsSticky {
		list, err := providers(cat, []string{s.Sticky})
		if err != nil {
			return err
		}
		req.Sticky = list[0]
	}
	if s.Saved == nil && len(s.Overrides) == 0 {
		return nil
	}
	prefs := &policy.Preferences{EnableFallback: true, Models: make(map[*catalog.Model]policy.Override)}
	if s.Saved != nil {
		if prefs.Preferred, err = providers(cat, s.Saved.Preferred); err != nil {
			return err
		}
		if prefs.Excluded, err = providers(cat, s.Saved.Excluded); err != nil {
			return err
		}
		prefs.EnableFallback = s.Saved.Fallback != "off"
	}
	for id, saved := range s.Overrides {
		m, ok := cat.Model(id)
		if !ok {
			return fmt.Errorf("no model %s", id)
		}
		var o policy.Override
		if o.Preferred, err = providers(cat, saved.Preferred); err != nil {
			return err
		}
		if o.Excluded, err = providers(cat, saved.Excluded); err != nil {
			return err
		}
		if saved.Fallback != "" {
			on := saved.Fallback == "on"
			o.EnableFallback = &on
		}
		prefs.Models[m] = o
	}
	req.Preferences = prefs
	return nil
}

// providers resolves slugs; nil stays nil.
func providers(cat *catalog.Catalog, slugs []string) ([]*catalog.Provider, error) {
	if slugs == nil {
		return nil, nil
	}
	list := make([]*catalog.Provider, 0, len(slugs))
	for _, s := range slugs {
		p, ok := cat.Provider(s)
		if !ok {
			return nil, fmt.Errorf("no provider %s", s)
		}
		list = append(list, p)
	}
	return list, nil
}

func offer(cat *catalog.Catalog, pair string) (*catalog.Offer, error) {
	slug, id, _ := strings.Cut(pair, "@")
	p, okP := cat.Provider(slug)
	m, okM := cat.Model(id)
	if okP && okM {
		if o := m.OfferOf(p); o != nil {
			return o, nil
		}
	}
	return nil, fmt.Errorf("no offer %s", pair)
}
