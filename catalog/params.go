package catalog

// ParamSet is a set of capability-checked request parameters (SEL-7).
type ParamSet uint64
