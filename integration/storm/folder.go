package storm

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/raftdv/dv/integration/bench"
)

// Files of a run's folder, beside the results.
const (
	specFile = "spec.yaml"
	runFile  = "run.json"
)

// Meta says what a folder is of.
type Meta struct {
	// Spec is the name of the specification's file, Trials how many it has.
	Spec   string `json:"spec"`
	Trials uint64 `json:"trials"`
	// Shard is the part that the folder has, I of N.
	Shard Shard `json:"shard"`
	// Real: with real processes, so many Seeds for each cell.
	Real  bool   `json:"real,omitempty"`
	Seeds uint64 `json:"seeds,omitempty"`
	// CPU is the processor's name, of several machines all of them.
	CPU string `json:"cpu,omitempty"`

	bench.Origin
}

// Create begins a run in a folder, which it makes, or takes up one that is there: of the
// same specification, shard and version, as results of different ones do not belong
// together.
func (s *Spec) Create(dir string, h Shard) error {
	if h == (Shard{}) {
		h = Shard{1, 1}
	}
	return s.create(dir, h, bench.Here(), processor())
}

func (s *Spec) create(dir string, h Shard, from bench.Origin, cpu string) error {
	meta := Meta{Spec: filepath.Base(s.File), Trials: s.Trials(), Shard: h, CPU: cpu, Origin: from}
	if s.Real {
		meta.Real, meta.Seeds = true, s.Seeds
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	before, err := ReadMeta(dir)
	if err == nil {
		text, err := os.ReadFile(filepath.Join(dir, specFile))
		switch {
		case err != nil:
			return err
		case string(text) != string(s.Text):
			return fmt.Errorf("%s holds results of another specification: name another folder", dir)
		case before.Real != meta.Real || before.Seeds != meta.Seeds:
			return fmt.Errorf("%s holds results of %s: name another folder", dir, before.kind())
		case before.Shard != h:
			return fmt.Errorf("%s holds shard %d/%d: name another folder", dir, before.Shard.I, before.Shard.N)
		case before.Version != meta.Version:
			return fmt.Errorf("%s holds results of version %s, this is %s: name another folder", dir, before.Version, meta.Version)
		}
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, specFile), s.Text, 0o644); err != nil {
		return err
	}
	b, err := json.MarshalIndent(meta, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, runFile), append(b, '\n'), 0o644)
}

func (m *Meta) kind() string {
	if m.Real {
		return fmt.Sprintf("real processes, with %d seeds", m.Seeds)
	}
	return "the simulator"
}

// processor is its name, "" where the system does not say.
func processor() string {
	text, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(text)) {
		if name, value, _ := strings.Cut(line, ":"); strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// ReadMeta says what a folder is of.
func ReadMeta(dir string) (m Meta, err error) {
	b, err := os.ReadFile(filepath.Join(dir, runFile))
	if err == nil {
		if err = json.Unmarshal(b, &m); err != nil {
			err = fmt.Errorf("%s: %w", filepath.Join(dir, runFile), err)
		}
	}
	return m, err
}

// Load reads the specification of a folder.
func Load(dir string) (*Spec, Meta, error) {
	m, err := ReadMeta(dir)
	if err != nil {
		return nil, m, fmt.Errorf("%s is no folder of a run: %w", dir, err)
	}
	text, err := os.ReadFile(filepath.Join(dir, specFile))
	if err != nil {
		return nil, m, err
	}
	s, err := Parse(filepath.Join(dir, specFile), text)
	if err == nil && m.Real {
		_, err = s.ForReal(m.Seeds)
	}
	return s, m, err
}

// MergeAll makes one run, in dir, of the shards in several folders, which have to be of one
// specification and version. It keeps what those say of where they come from.
func MergeAll(dir string, parts []string) (*Spec, error) {
	if len(parts) == 0 {
		return nil, errNoParts
	}
	s, m, err := Load(parts[0])
	if err != nil {
		return nil, err
	}
	machines, cpus := []string{m.Machine}, []string{m.CPU}
	for _, part := range parts[1:] {
		o, n, err := Load(part)
		if err == nil && (string(o.Text) != string(s.Text) || n.Version != m.Version || n.Real != m.Real || n.Seeds != m.Seeds) {
			err = fmt.Errorf("%s and %s are of different specifications, seeds or versions, or only one is of real processes", parts[0], part)
		}
		if err != nil {
			return nil, err
		}
		if !slices.Contains(machines, n.Machine) {
			machines = append(machines, n.Machine)
		}
		if !slices.Contains(cpus, n.CPU) {
			cpus = append(cpus, n.CPU)
		}
	}
	m.Machine = strings.Join(machines, "; ")
	if err := s.create(dir, Shard{1, 1}, m.Origin, strings.Join(cpus, "; ")); err != nil {
		return nil, err
	}
	return s, s.Merge(dir, parts)
}

// SpecPath is where a run's folder has its specification.
func SpecPath(dir string) string { return filepath.Join(dir, specFile) }
