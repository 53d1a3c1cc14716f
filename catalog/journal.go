package catalog

// Journal is a local file to which Envoy writes each request's end, for when shunt
// cannot be told. Both must see it under one path.
type Journal struct {
	// Path is absolute; "": none is configured. `shunt run` has one in data_dir then.
	Path string
	// Rotate is the size from which `shunt run` begins a new file. Default 16 MiB.
	// Under `shunt serve` the file is the operator's to rotate.
	Rotate int64
}

const (
	defaultJournalRotation = 16 << 20
	leastJournalRotation   = 64 << 10
)

var journalKeys = newKeys("path", "rotate")

// journal takes a path alone, too.
func (d *decoder) journal(v value) {
	j := &d.cat.Billing.Durability.Journal
	if d.isShort(v) {
		set(&j.Path)(d.filename(v))
		return
	}
	d.object(v, journalKeys, func(key string, v value) {
		switch key {
		case "path":
			set(&j.Path)(d.filename(v))
		case "rotate":
			n, ok := d.size(v, mostRotation)
			if ok && n < leastJournalRotation {
				d.fault(v, "%s is less than 64KiB", quote(v.Value))
				return
			}
			set(&j.Rotate)(n, ok)
		}
	})
}
