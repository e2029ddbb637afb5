package sim

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write docs/link-models.md")

const modelsDoc = "../../docs/link-models.md"

const modelsIntro = `# Link models

Written by ` + "`go test ./fabric/sim -run TestModelsDoc -update`" + ` from fabric/sim/models_*.go, and compared with it by the same test: change it there.

` + "`sim.ModelByName(name)`" + ` makes the simulator (fabric/sim) a fabric of one kind: how long a frame takes, what its packets carry
and cost, who may send when, what is lost. ` + "`Medium` and `Faults`" + ` in fabric/sim say what each field does. The models are for
comparing protocols under the conditions of a fabric; they measure no product, and a result is worth no more than the widest of the
figures that it rests on. Run it at both ends of their ranges before believing it.

The time of a small frame is SendCost + packets ÷ Rate + Delay + ReceiveCost; Jitter is the mean of an exponential that is added, and
with probability Reorder also ReorderBy, which is the tail. In all models an ack is a packet without payload and without cost for the
hosts, a lost packet makes the port send the whole frame again, and what happens inside of switches is part of
Delay, Jitter and Reorder.

*Basis*: *measured* and published by somebody who does not sell it; *stated* by a standard or a vendor; *inferred* from what a source
says of something else; *assumed* where nothing was at hand, a guess at the right size. *Range* is what is plausible for fabrics of the kind, for the value as for other makes and ages. Sources that were not read again are
quoted as they are commonly known: check them before you rely on their figures.
`

// render writes all models down.
func render() string {
	var b strings.Builder
	b.WriteString(modelsIntro)
	b.WriteString("\n| model | one way, 256 bytes | payload rate | multicast | order | lossless | clock |\n| --- | --- | --- | --- | --- | --- | --- |\n")
	for _, m := range Models() {
		md, f := &m.Medium, &m.Faults
		oneWay := md.SendCost + time.Duration(md.wireTime(md.wireBytes(256+frameOverhead, 0, md.packets(256+frameOverhead)))) + f.Delay + md.ReceiveCost
		clock := "none"
		if !md.Unsynchronised {
			clock = "± " + f.ClockError.String()
		}
		rate := float64(md.Rate) * float64(md.PayloadBytes) / float64(md.wireBytes(md.PayloadBytes, 0, 1))
		if md.scheduled() {
			rate *= float64(md.Slot-2*md.Guard) / float64(md.Cycle)
		}
		fmt.Fprintf(&b, "| [%s](#%s) | %v + %v | %s | %s | %s | %s | %s |\n", m.Name, m.Name, oneWay, f.Jitter, rateText(rate),
			yes(md.Multicast), yes(md.InOrder), yes(md.Lossless), clock)
	}
	for _, m := range Models() {
		renderModel(&b, &m)
	}
	return b.String()
}

func renderModel(b *strings.Builder, m *Model) {
	fmt.Fprintf(b, "\n## %s\n\n%s.\n\n| figure | value | range | basis | source | note |\n| --- | --- | --- | --- | --- | --- |\n", m.Name, m.About)
	fields, sources := m.fields(), []Source{}
	for _, f := range m.Figures {
		value, span := "", ""
		if v, ok := number(fields[f.Field]); ok {
			value, span = inUnit(f.Field, v), inUnit(f.Field, f.Low)+" to "+inUnit(f.Field, f.High)
		} else {
			value = yes(fields[f.Field].Bool())
		}
		at := 0
		for at < len(sources) && sources[at] != f.Source {
			at++
		}
		if at == len(sources) {
			sources = append(sources, f.Source)
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s | %d | %s |\n", f.Field, value, span, f.Basis, at+1, f.Note)
	}
	b.WriteString("\nSources:\n\n")
	for i, s := range sources {
		fmt.Fprintf(b, "%d. %s (%s)\n", i+1, s.Ref, s.Read)
	}
	b.WriteString("\nNot simulated:\n\n")
	for _, s := range m.NotCovered {
		fmt.Fprintf(b, "- %s\n", s)
	}
}

func yes(is bool) string {
	if is {
		return "yes"
	}
	return "no"
}

func rateText(v float64) string {
	if v >= 1e9 {
		return fmt.Sprintf("%.3g GB/s", v/1e9)
	}
	return fmt.Sprintf("%.3g MB/s", v/1e6)
}

func inUnit(field string, v float64) string {
	switch field {
	case "Rate":
		return rateText(v)
	case "PayloadBytes", "HeaderBytes", "MinPacket":
		return fmt.Sprintf("%.0f B", v)
	case "Loss", "Reorder", "Duplicate", "Corrupt":
		return fmt.Sprintf("%g", v)
	}
	return time.Duration(v).String()
}

// TestModelsDoc: the page says what the code says.
func TestModelsDoc(t *testing.T) {
	want := render()
	if *update {
		if err := os.WriteFile(modelsDoc, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(modelsDoc)
	if err != nil {
		t.Fatalf("%v: run go test -run TestModelsDoc -update", err)
	}
	if string(got) != want {
		t.Errorf("%s is not what the models say: run go test -run TestModelsDoc -update", modelsDoc)
	}
	// The negative control: the page depends on each figure.
	m := Models()[0]
	var before, after strings.Builder
	renderModel(&before, &m)
	m.Faults.Delay++
	renderModel(&after, &m)
	if before.String() == after.String() {
		t.Error("a figure that changes does not change the page")
	}
}
