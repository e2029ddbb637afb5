package sim

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"time"
)

// Model is what one kind of fabric is taken to be, and where each figure comes
// from. Run with one, the simulator says how a protocol fares on a fabric of
// that kind, within what the figures are worth; it does not say how a product
// performs. All models with their figures are listed in docs/link-models.md.
type Model struct {
	// Name selects the model: "ib-rc".
	Name string
	// About says in a sentence which fabric is meant.
	About string
	// Medium and Faults are the figures. Of Faults only those of packets and
	// clocks are used: Delay is the least latency, Jitter its variation, Reorder
	// and ReorderBy its tail.
	Medium Medium
	Faults Faults
	// Figures gives the origin of each field of Medium and Faults that is set.
	Figures []Figure
	// NotCovered says what of the fabric is not simulated.
	NotCovered []string
}

// Figure says what one field of a model's Medium or Faults is worth.
type Figure struct {
	// Field that it is about: "Rate", "Delay".
	Field string
	// Low and High bound what is plausible, in the field's unit: bytes, bytes per
	// second, nanoseconds, a probability. Nothing for yes and no.
	Low, High float64
	Basis     Basis
	Source    Source
	// Note says how the value follows from the source. Optional.
	Note string
}

// Basis says how good a figure is.
type Basis string

// The bases.
const (
	// Measured and published by somebody who does not sell it.
	Measured Basis = "measured"
	// Stated by a standard or a vendor.
	Stated Basis = "stated"
	// Inferred from what a source says of something else: the note says how.
	Inferred Basis = "inferred"
	// Assumed: nothing about it was at hand; a guess at the right size, for which
	// the source only gives the setting.
	Assumed Basis = "assumed"
)

// Source is where a figure comes from.
type Source struct {
	// Ref names the paper, standard or data sheet, its authors and year, and the
	// place in it where that is known.
	Ref string
	// Read says how much of it was read when the figure was written down; what
	// was not read again is quoted as it is commonly known.
	Read string
}

// Models returns all models in the order of their names.
func Models() []Model {
	return []Model{dataVortex(), ethernet(), ibRC(), rapidIO(), sharp(), tte(), wan()}
}

// ModelByName returns a model. The error of an unknown name lists the known
// ones.
func ModelByName(name string) (Model, error) {
	all := Models()
	names := make([]string, len(all))
	for i := range all {
		if names[i] = all[i].Name; names[i] == name {
			return all[i], nil
		}
	}
	return Model{}, fmt.Errorf("sim: no link model is called %q: want one of %s", name, strings.Join(names, ", "))
}

// Apply makes c a network of this model. It sets Medium and the latency, loss
// and clock error of Faults, and leaves everything else: what happens to
// members, sizes, timeouts.
func (m *Model) Apply(c *Config) {
	f, own := &c.Faults, &m.Faults
	c.Medium = m.Medium
	f.Delay, f.Jitter, f.Loss, f.Duplicate, f.Corrupt = own.Delay, own.Jitter, own.Loss, own.Duplicate, own.Corrupt
	f.Reorder, f.ReorderBy, f.ClockError, f.Bandwidth = own.Reorder, own.ReorderBy, own.ClockError, 0
}

// Validate lists everything that is wrong with m: figures that contradict each
// other, that nobody has given an origin, or that lie outside of their bounds.
func (m *Model) Validate() error {
	var errs []error
	fault := func(bad bool, format string, args ...any) {
		if bad {
			errs = append(errs, fmt.Errorf("sim: model %q: "+format, append([]any{m.Name}, args...)...))
		}
	}
	fault(m.Name == "" || m.Name != m.Medium.Name, "its Medium is called %q: want the same name, and one", m.Medium.Name)
	fault(m.About == "", "About is empty: say which fabric is meant")
	fault(len(m.NotCovered) == 0, "NotCovered is empty: no simulation covers everything")
	fields := m.fields()
	seen := map[string]bool{}
	for i := range m.Figures {
		f := &m.Figures[i]
		fault(seen[f.Field], "two figures for %s: want one", f.Field)
		seen[f.Field] = true
		if err := f.check(fields); err != nil {
			fault(true, "%w", err)
		}
	}
	for _, name := range sortedNames(fields) {
		fault(!fields[name].IsZero() && !seen[name], "%s is %v and has no figure: say where it comes from", name, fields[name])
	}
	c := Config{}
	m.Apply(&c)
	if err := c.Validate(); err != nil {
		fault(true, "%w", err)
	}
	return errors.Join(errs...)
}

func (f *Figure) check(fields map[string]reflect.Value) error {
	v, ok := fields[f.Field]
	if !ok {
		return fmt.Errorf("figure for %q: neither Medium nor Faults has such a field", f.Field)
	}
	if f.Source.Ref == "" || f.Source.Read == "" {
		return fmt.Errorf("figure for %s: want a source, and how much of it was read", f.Field)
	}
	if !slices.Contains([]Basis{Measured, Stated, Inferred, Assumed}, f.Basis) {
		return fmt.Errorf("figure for %s: basis %q, want %s, %s, %s or %s", f.Field, f.Basis, Measured, Stated, Inferred, Assumed)
	}
	if (f.Basis == Inferred || f.Basis == Assumed) && f.Note == "" {
		return fmt.Errorf("figure for %s: it is %s, the note has to say from what", f.Field, f.Basis)
	}
	if value, ok := number(v); ok && !(f.Low <= value && value <= f.High) {
		return fmt.Errorf("figure for %s: %v is outside of its bounds, %v to %v", f.Field, value, f.Low, f.High)
	}
	return nil
}

// fields returns the fields of Medium and Faults by their names; Name apart.
func (m *Model) fields() map[string]reflect.Value {
	all := map[string]reflect.Value{}
	for _, s := range []reflect.Value{reflect.ValueOf(m.Medium), reflect.ValueOf(m.Faults)} {
		for i := range s.NumField() {
			all[s.Type().Field(i).Name] = s.Field(i)
		}
	}
	delete(all, "Name")
	return all
}

func sortedNames(fields map[string]reflect.Value) []string {
	var names []string
	for name := range fields {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// number is a field's value in its unit; bools have none.
func number(v reflect.Value) (float64, bool) {
	switch {
	case v.CanInt():
		return float64(v.Int()), true
	case v.CanFloat():
		return v.Float(), true
	}
	return math.NaN(), false
}

// us and ms are microseconds and milliseconds in the unit of figures.
func us(x float64) float64 { return x * float64(time.Microsecond) }
func ms(x float64) float64 { return x * float64(time.Millisecond) }
