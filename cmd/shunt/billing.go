package main

import (
	"fmt"
	"strings"

	"github.com/shunt-gateway/shunt/catalog"
	"github.com/shunt-gateway/shunt/extproc/billing"
)

// startBilling opens the sinks.
func (a *app) startBilling(c *catalog.Catalog) (*billing.Ledger, error) {
	var sinks []billing.Sink
	for _, s := range c.Billing.Sinks {
		f, err := billing.NewFileSink(s.File, a.log)
		if err != nil {
			return nil, environmentError{fmt.Errorf("billing.sinks: %w", err)}
		}
		sinks = append(sinks, f)
	}
	l := billing.NewLedger(a.log, sinks...)
	a.up("billing", l.Close)
	return l, nil
}

// sinkNames says where events go, for people.
func sinkNames(c *catalog.Catalog) string {
	var names []string
	for _, s := range c.Billing.Sinks {
		names = append(names, s.File)
	}
	return strings.Join(names, ", ")
}
