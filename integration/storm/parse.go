package storm

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	yaml "go.yaml.in/yaml/v3"
)

// maxSpec bounds the bytes of a specification.
const maxSpec = 1 << 20

// Parse reads a specification in YAML. Errors are of type *SpecError: each says file,
// line and column, what is wrong, and what is allowed.
func Parse(file string, text []byte) (*Spec, error) {
	p := &parser{file: file, spec: &Spec{Text: text, File: file}}
	if len(text) > maxSpec {
		p.problem(nil, "", "it has %d bytes: at most %d", len(text), maxSpec)
	} else if root := p.read(text); root != nil && p.fits(root) {
		p.fill(root)
	}
	if len(p.problems) > 0 {
		return nil, &SpecError{file, sorted(p.problems)}
	}
	return p.spec, nil
}

type parser struct {
	file     string
	spec     *Spec
	problems []Problem
}

func (p *parser) problem(n *yaml.Node, where, format string, args ...any) {
	at := Problem{Line: 1, Column: 1, Where: where, What: fmt.Sprintf(format, args...)}
	if n != nil && n.Line > 0 {
		at.Line, at.Column = n.Line, n.Column
	}
	p.problems = append(p.problems, at)
}

// yamlLine is how the YAML library says where.
var yamlLine = regexp.MustCompile(`^(?:yaml: )?line (\d+)(?:, column \d+)?: `)

func (p *parser) malformed(text string) {
	at := &yaml.Node{}
	if m := yamlLine.FindStringSubmatch(text); m != nil {
		at.Line, _ = strconv.Atoi(m[1])
		at.Column = 1
		text = text[len(m[0]):]
	}
	p.problem(at, "", "this is not YAML: %s", strings.TrimPrefix(text, "yaml: "))
}

// read returns the root of the only document; nil: there are problems.
func (p *parser) read(text []byte) *yaml.Node {
	d := yaml.NewDecoder(bytes.NewReader(text))
	var doc, more yaml.Node
	switch err := d.Decode(&doc); {
	case errors.Is(err, io.EOF):
		p.problem(nil, "", "it is empty: it needs name, claim, matrix and expect")
		return nil
	case err != nil:
		p.malformed(err.Error())
		return nil
	}
	if err := d.Decode(&more); !errors.Is(err, io.EOF) {
		p.problem(&more, "", "there is a second document: write one specification to a file")
		return nil
	}
	root := doc.Content[0]
	if root.Kind != yaml.MappingNode {
		p.problem(root, "", "it is no mapping: it needs name, claim, matrix and expect")
		return nil
	}
	if p.tidy(root, ""); len(p.problems) > 0 {
		return nil
	}
	return root
}

// tidy refuses what hides something from who reads a file: keys that come twice,
// references to other places, values with tags.
func (p *parser) tidy(n *yaml.Node, where string) {
	switch {
	case n.Kind == yaml.AliasNode, n.Anchor != "":
		p.problem(n, where, "references to other places (& and *) are not allowed: write the value")
	case n.Style&yaml.TaggedStyle != 0:
		p.problem(n, where, "tags (%s) are not allowed: write the plain value", n.Tag)
	case n.Kind == yaml.SequenceNode:
		for i, c := range n.Content {
			p.tidy(c, fmt.Sprintf("%s[%d]", where, i))
		}
	case n.Kind == yaml.MappingNode:
		seen := map[string]int{}
		for i := 0; i < len(n.Content); i += 2 {
			k := n.Content[i]
			if first, twice := seen[k.Value]; twice {
				p.problem(k, join(where, k.Value), "it is there already, in line %d: keep one", first)
			}
			seen[k.Value] = k.Line
			p.tidy(n.Content[i+1], join(where, k.Value))
		}
	}
}

func join(where, key string) string {
	if where == "" {
		return key
	}
	return where + "." + key
}

var compiled = func() *jsonschema.Schema {
	c := jsonschema.NewCompiler()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(Schema()))
	if err == nil {
		err = c.AddResource("storm.json", doc)
	}
	if err != nil {
		panic(err) // it is the program's own
	}
	return c.MustCompile("storm.json")
}()

// fits applies the schema.
func (p *parser) fits(root *yaml.Node) bool {
	var v any
	if err := root.Decode(&v); err != nil {
		p.malformed(err.Error())
		return false
	}
	b, err := json.Marshal(v)
	if err != nil {
		p.problem(root, "", "it has keys that are no words: %v", err)
		return false
	}
	inst, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
	if err != nil {
		p.problem(root, "", "%v", err)
		return false
	}
	if e, wrong := errors.AsType[*jsonschema.ValidationError](compiled.Validate(inst)); wrong {
		p.misfit(root, e)
	}
	return len(p.problems) == 0
}

// misfit says what the schema does not take, where it is.
func (p *parser) misfit(root *yaml.Node, e *jsonschema.ValidationError) {
	n, where := locate(root, e.InstanceLocation)
	switch k := e.ErrorKind.(type) {
	case *kind.OneOf: // a dimension: a value or a list of them
		if d := dimensionIndex(last(e.InstanceLocation)); d >= 0 {
			p.dimensionMisfit(n, where, &dimensions[d])
			return
		}
	case *kind.AdditionalProperties:
		for _, name := range k.Properties {
			key, _ := entry(n, name)
			p.problem(key, join(where, name), "nothing is called so here: use any of %s", strings.Join(known(e.InstanceLocation), ", "))
		}
		return
	case *kind.Required:
		p.problem(n, where, "it lacks %s", strings.Join(k.Missing, ", "))
		return
	case *kind.Enum:
		var want []string
		for _, w := range k.Want {
			want = append(want, fmt.Sprint(w))
		}
		p.problem(n, where, "%q: use any of %s", n.Value, strings.Join(want, ", "))
		return
	case *kind.Type:
		if where == "duration" || where == "warm_up" {
			p.problem(n, where, "%s is no time: write one with its unit, like 1.5s or 200ms", quoted(n))
			return
		}
		p.problem(n, where, "it is %s: write %s", article(k.Got), strings.Join(articles(k.Want), " or "))
		return
	case *kind.Pattern:
		if k.Want == timePattern {
			p.problem(n, where, "%q is no time: write one with its unit, like 1.5s or 200ms", k.Got)
		} else {
			p.problem(n, where, "%q: use small letters, digits and hyphens, at most 64", k.Got)
		}
		return
	case *kind.Minimum:
		p.problem(n, where, "%s is too small: use %s or more", n.Value, k.Want.RatString())
		return
	case *kind.Maximum:
		p.problem(n, where, "%s is too large: use %s or less", n.Value, k.Want.RatString())
		return
	case *kind.MinLength, *kind.MinProperties, *kind.MinItems:
		p.problem(n, where, "it is empty")
		return
	case *kind.MaxItems:
		p.problem(n, where, "it has %d entries: use %d at most", k.Got, k.Want)
		return
	}
	if len(e.Causes) == 0 {
		p.problem(n, where, "%v", e)
	}
	for _, c := range e.Causes {
		p.misfit(root, c)
	}
}

// dimensionMisfit says which values a dimension does not take.
func (p *parser) dimensionMisfit(n *yaml.Node, where string, d *dimension) {
	values := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode {
		values = n.Content
		if len(values) == 0 {
			p.problem(n, where, "the list is empty: use %s", d.allowed())
			return
		}
	}
	seen := map[string]bool{}
	for i, v := range values {
		at := where
		if n.Kind == yaml.SequenceNode {
			at = fmt.Sprintf("%s[%d]", where, i)
		}
		_, err := d.parse(v.Value)
		switch {
		case v.Kind != yaml.ScalarNode, err != nil, !d.written(v):
			p.problem(v, at, "%s: use %s", quoted(v), d.allowed())
		case seen[v.Value]:
			p.problem(v, at, "%s is there already", quoted(v))
		}
		seen[v.Value] = true
	}
}

// written reports whether a value is of the type that the dimension has.
func (d *dimension) written(v *yaml.Node) bool {
	switch {
	case d.whole != nil:
		return v.Tag == "!!int"
	case d.share != nil:
		return v.Tag == "!!int" || v.Tag == "!!float"
	case d.yesNo:
		return v.Tag == "!!bool"
	default:
		return v.Tag == "!!str"
	}
}

func quoted(v *yaml.Node) string {
	switch v.Kind {
	case yaml.ScalarNode:
		return strconv.Quote(v.Value)
	case yaml.SequenceNode:
		return "a list"
	default:
		return "a mapping"
	}
}

// known are the names that a place has.
func known(at []string) []string {
	s := schema()
	if len(at) > 0 {
		s = s["properties"].(object)[at[0]].(object)
	}
	if items, ok := s["items"].(object); ok {
		s = items
	}
	var names []string
	for name := range s["properties"].(object) {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func last(path []string) string {
	if len(path) == 0 {
		return ""
	}
	return path[len(path)-1]
}

func article(jsonType string) string {
	switch jsonType {
	case "object":
		return "a mapping"
	case "array":
		return "a list"
	case "integer":
		return "a whole number"
	case "boolean":
		return "true or false"
	case "null":
		return "empty"
	default:
		return "a " + jsonType
	}
}

func articles(types []string) (all []string) {
	for _, t := range types {
		all = append(all, article(t))
	}
	return all
}

// entry finds a key of a mapping, and its value.
func entry(n *yaml.Node, name string) (key, value *yaml.Node) {
	for i := 0; n != nil && n.Kind == yaml.MappingNode && i < len(n.Content); i += 2 {
		if n.Content[i].Value == name {
			return n.Content[i], n.Content[i+1]
		}
	}
	return nil, nil
}

// locate finds a place by its JSON pointer.
func locate(n *yaml.Node, at []string) (place *yaml.Node, where string) {
	for _, step := range at {
		if n.Kind == yaml.SequenceNode {
			i, err := strconv.Atoi(step)
			if err != nil || i >= len(n.Content) {
				return n, where
			}
			n, where = n.Content[i], fmt.Sprintf("%s[%d]", where, i)
			continue
		}
		_, v := entry(n, step)
		if v == nil {
			return n, where
		}
		n, where = v, join(where, step)
	}
	return n, where
}

// fill takes a document that fits the schema.
func (p *parser) fill(root *yaml.Node) {
	s := p.spec
	s.Name, s.Claim = text(root, "name"), strings.TrimSpace(text(root, "claim"))
	s.First, s.Seeds = 1, defaultSeeds
	s.Rate, s.Size = defaultRate, defaultSize
	if _, seeds := entry(root, "seeds"); seeds != nil {
		s.First, s.Seeds = number(seeds, "first", s.First), number(seeds, "count", s.Seeds)
	}
	if _, w := entry(root, "workload"); w != nil {
		s.Rate, s.Size = int(number(w, "rate", uint64(s.Rate))), int(number(w, "size", uint64(s.Size)))
	}
	s.WarmUp, s.Duration = p.time(root, "warm_up", defaultWarmUp), p.time(root, "duration", defaultDuration)
	p.matrix(root)
	p.baseline(root)
	p.expectations(root)
}

func text(n *yaml.Node, name string) string {
	if _, v := entry(n, name); v != nil {
		return v.Value
	}
	return ""
}

func number(n *yaml.Node, name string, usual uint64) uint64 {
	if _, v := entry(n, name); v != nil {
		var x float64 // the schema takes 1e3 for a whole number
		if v.Decode(&x) == nil {
			return uint64(x)
		}
	}
	return usual
}

func (p *parser) time(n *yaml.Node, name string, usual time.Duration) time.Duration {
	_, v := entry(n, name)
	if v == nil {
		return usual
	}
	t, err := time.ParseDuration(v.Value)
	if err != nil || t < minDuration || t > maxDuration {
		p.problem(v, name, "%s: use %v to %v", v.Value, minDuration, maxDuration)
	}
	return t
}

func (p *parser) baseline(root *yaml.Node) {
	s := p.spec
	if s.Baseline = text(root, "baseline"); s.Baseline == "" {
		return
	}
	if !slices.ContainsFunc(s.Cells, func(c Cell) bool { return c.Value("transport") == s.Baseline }) {
		_, v := entry(root, "baseline")
		p.problem(v, "baseline", "no cell has transport %s: add it to the matrix, or name another one", s.Baseline)
	}
}

func (p *parser) expectations(root *yaml.Node) {
	_, list := entry(root, "expect")
	for i, v := range list.Content {
		where := fmt.Sprintf("expect[%d]", i)
		e, err := parseExpectation(v.Value)
		switch {
		case err != nil:
			for line := range strings.SplitSeq(err.Error(), "\n") {
				p.problem(v, where, "%s", line)
			}
		case e.OfBaseline && p.spec.Baseline == "":
			p.problem(v, where, "there is no baseline: name one with baseline")
		case len(p.spec.Cells) > 0 && !slices.ContainsFunc(p.spec.Cells, func(c Cell) bool { return e.matches(&c) }):
			p.problem(v, where, "no cell is of that kind: it would hold of nothing")
		}
		p.spec.Expect = append(p.spec.Expect, e)
	}
}
