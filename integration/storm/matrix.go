package storm

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	yaml "go.yaml.in/yaml/v3"

	"github.com/raftdv/dv/fabric/sim"
)

// leastTicks of an election timeout: raft needs more than a heartbeat, etcd asks for five.
const leastTicks = 5

// matrix expands the matrix, but for what is excluded. The first dimension changes
// slowest.
func (p *parser) matrix(root *yaml.Node) {
	_, m := entry(root, "matrix")
	values := make([][]string, len(dimensions))
	size := 1
	for i := range dimensions {
		d := &dimensions[i]
		values[i] = []string{d.usual}
		if _, v := entry(m, d.name); v != nil {
			values[i] = p.values(v, join("matrix", d.name), d)
		}
		if size *= max(len(values[i]), 1); size > maxCells {
			p.problem(m, "matrix", "it has more than %d cells: leave something out", maxCells)
			return
		}
	}
	out := p.exclusions(root)
	for i := range size {
		c := Cell{make([]string, len(dimensions))}
		for d, rest := len(dimensions)-1, i; d >= 0; d-- {
			if len(values[d]) == 0 {
				return // which is a problem of its own
			}
			c.values[d] = values[d][rest%len(values[d])]
			rest /= len(values[d])
		}
		taken := false
		for k := range out { // all of them: each is to know that it is of use
			taken = out[k].takes(&c) || taken
		}
		if !taken {
			p.spec.Cells = append(p.spec.Cells, c)
		}
	}
	p.sound(root, m, out)
}

// values of a dimension, as results have them.
func (p *parser) values(v *yaml.Node, where string, d *dimension) (all []string) {
	list := []*yaml.Node{v}
	if v.Kind == yaml.SequenceNode {
		list = v.Content
	}
	for i, v := range list {
		at := where
		if len(list) > 1 {
			at = fmt.Sprintf("%s[%d]", where, i)
		}
		text, err := d.parse(v.Value)
		switch {
		case err != nil:
			p.problem(v, at, "%q: use %s", v.Value, d.allowed())
		case slices.Contains(all, text): // 100ms and 0.1s
			p.problem(v, at, "%q is there already", v.Value)
		default:
			all = append(all, text)
		}
	}
	return all
}

// exclusion is an entry of exclude: for some dimensions, values that are left out
// together. used: a cell of the matrix has them.
type exclusion struct {
	values map[int][]string
	used   *bool
}

func (x *exclusion) takes(c *Cell) bool {
	for d, values := range x.values {
		if !slices.Contains(values, c.values[d]) {
			return false
		}
	}
	*x.used = true
	return true
}

func (p *parser) exclusions(root *yaml.Node) (all []exclusion) {
	_, list := entry(root, "exclude")
	if list == nil {
		return nil
	}
	for i, n := range list.Content {
		x := exclusion{map[int][]string{}, new(bool)}
		for k := 0; k < len(n.Content); k += 2 {
			name := n.Content[k].Value
			d := dimensionIndex(name)
			x.values[d] = p.values(n.Content[k+1], fmt.Sprintf("exclude[%d].%s", i, name), &dimensions[d])
		}
		all = append(all, x)
	}
	return all
}

// sound looks at what no value says alone.
func (p *parser) sound(root, m *yaml.Node, out []exclusion) {
	_, list := entry(root, "exclude")
	if len(p.spec.Cells) == 0 && len(p.problems) == 0 {
		p.problem(m, "matrix", "nothing is left of it: exclude less")
	}
	for i := range out {
		if !*out[i].used {
			p.problem(list.Content[i], fmt.Sprintf("exclude[%d]", i), "no cell has these values: it excludes nothing")
		}
	}
	said := map[string]bool{}
	say := func(dimension, what string) {
		if said[what] {
			return
		}
		said[what] = true
		at := m
		if _, v := entry(m, dimension); v != nil {
			at = v
		}
		p.problem(at, join("matrix", dimension), "%s", what)
	}
	for i := range p.spec.Cells {
		c := &p.spec.Cells[i]
		members, _ := strconv.Atoi(c.Value("members"))
		if f := c.Value("fault"); strings.HasPrefix(f, "crash-at-") && c.int("crashes") < 2 {
			say("crashes", f+" crashes somebody after the leader: use crashes of 2 and more, or exclude the combination")
		}
		if f := faultOf(c.Value("fault")); members < f.Least {
			say("fault", fmt.Sprintf("%s needs %d members, and a cell has %d: exclude the combination", f.Name, f.Least, members))
		}
		if m, err := sim.ModelByName(c.Value("link")); err == nil && m.Medium.Lossless && c.float("loss") > 0 {
			say("loss", fmt.Sprintf("%s on link %s, which loses nothing: exclude the combination", c.Value("loss"), m.Name))
		}
		beat, _ := time.ParseDuration(c.Value("heartbeat"))
		election, _ := time.ParseDuration(c.Value("election"))
		if election%beat != 0 || election < leastTicks*beat {
			say("election", fmt.Sprintf("%v with a heartbeat of %v: it has to be a multiple of it, %d times as long at least; choose others or exclude the combination", election, beat, leastTicks))
		}
	}
}
