package doctor

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// Answer is what a probe found.
type Answer string

// The answers. Unknown is no answer: the probe itself failed.
const (
	Yes     Answer = "yes"
	No      Answer = "no"
	Unknown Answer = "unknown"
)

// A Finding is the answer to one question.
type Finding struct {
	Name   string `json:"name"`
	About  string `json:"about"`
	Answer Answer `json:"answer"`
	// Detail says what was seen.
	Detail string `json:"detail"`
	// Remedy says what to do; empty where nothing needs to be done.
	Remedy string `json:"remedy,omitempty"`
}

// State is what a fabric is good for on this machine.
type State string

// The states. A fabric is Limited when it works but something that would make
// it better is missing, Undecided when a probe that counts could not tell.
const (
	Works     State = "works"
	Limited   State = "limited"
	Fails     State = "fails"
	Undecided State = "undecided"
)

// A Verdict is about one fabric.
type Verdict struct {
	Fabric string `json:"fabric"`
	State  State  `json:"state"`
	// Missing names the findings that are not yes and stop it, Wanting those
	// that only limit it.
	Missing []string `json:"missing,omitempty"`
	Wanting []string `json:"wanting,omitempty"`
}

// A Report is everything.
type Report struct {
	Kernel   string    `json:"kernel"`
	Verdicts []Verdict `json:"fabrics"`
	Findings []Finding `json:"findings"`
}

// A probe asks one question. An error means that it cannot tell.
type probe struct {
	name, about string
	ask         func(*machine) (ok bool, detail string, err error)
	remedy      string // for no
}

// A fabric's needs, by probe name.
type fabric struct {
	name         string
	needs, likes []string
	unbuilt      bool // this version has no port for it, whatever the machine
}

const unbuilt = "a port in this version of raftdv"

// probeTimeout bounds one probe.
const probeTimeout = time.Second

// Run asks everything.
func Run(ctx context.Context) Report { return examine(ctx, thisMachine(), probes, fabrics) }

func examine(ctx context.Context, m *machine, probes []probe, fabrics []fabric) Report {
	r := Report{Kernel: m.kernel()}
	for _, p := range probes {
		r.Findings = append(r.Findings, p.run(ctx, m))
	}
	for _, f := range fabrics {
		r.Verdicts = append(r.Verdicts, f.judge(r.Findings))
	}
	return r
}

// run asks, for at most probeTimeout. A probe that does not return is left
// behind: it is stuck in the kernel.
func (p *probe) run(ctx context.Context, m *machine) Finding {
	f := Finding{Name: p.name, About: p.about}
	type result struct {
		ok     bool
		detail string
		err    error
	}
	done := make(chan result, 1)
	go func() {
		ok, detail, err := p.ask(m)
		done <- result{ok, detail, err}
	}()
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	select {
	case got := <-done:
		switch {
		case got.err != nil:
			f.Answer, f.Detail = Unknown, got.err.Error()
			f.Remedy = "mend what keeps the probe from looking, or ignore it"
		case got.ok:
			f.Answer, f.Detail = Yes, got.detail
		default:
			f.Answer, f.Detail, f.Remedy = No, got.detail, p.remedy
		}
	case <-ctx.Done():
		f.Answer, f.Detail = Unknown, fmt.Sprintf("no answer: %v", context.Cause(ctx))
		f.Remedy = "look at what the machine is busy with, and ask again"
	}
	return f
}

// judge makes a verdict of the findings. What was not asked is not known.
func (f *fabric) judge(findings []Finding) Verdict {
	answers := map[string]Answer{}
	for _, x := range findings {
		answers[x.Name] = x.Answer
	}
	v := Verdict{Fabric: f.name, State: Works}
	for _, name := range f.likes {
		if answers[name] != Yes {
			v.State = Limited
			v.Wanting = append(v.Wanting, name)
		}
	}
	for _, name := range f.needs {
		if answers[name] != Yes {
			v.Missing = append(v.Missing, name)
			if v.State != Fails {
				v.State = Undecided
			}
		}
		if answers[name] == No {
			v.State = Fails
		}
	}
	if f.unbuilt {
		v.State = Fails
		v.Missing = append(v.Missing, unbuilt)
	}
	return v
}

// Failing returns, of the fabrics named, those that do not work for sure, and
// those that are not known.
func (r *Report) Failing(names []string) (failing, unknown []string) {
	for _, n := range names {
		i := slices.IndexFunc(r.Verdicts, func(v Verdict) bool { return v.Fabric == n })
		switch {
		case i < 0:
			unknown = append(unknown, n)
		case r.Verdicts[i].State == Fails || r.Verdicts[i].State == Undecided:
			failing = append(failing, n)
		}
	}
	return failing, unknown
}

// Fabrics are the names that verdicts are about.
func Fabrics() []string {
	var names []string
	for _, f := range fabrics {
		names = append(names, f.name)
	}
	return names
}
