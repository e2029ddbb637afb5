package plug

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"time"

	yaml "go.yaml.in/yaml/v2"

	"github.com/raftdv/dv/raftdv"
)

const (
	flagPrefix = "dv-"
	// EnvPrefix starts the name of every variable that this package reads.
	EnvPrefix = "ETCD_DV_"
	// electionsName, relaysName and viewsName are the options that can be on.
	electionsName = "elections"
	relaysName    = "relays"
	viewsName     = "views"
	// fileKey is the top-level key of the configuration file.
	fileKey = "dv"
	// listenKey is etcd's own.
	listenKey = "listen-peer-urls"
)

// An option is one setting under its name in the configuration file; its flag
// is dv-name, its variable ETCD_DV_NAME.
type option struct {
	name, arg, def, help string
	set                  func(*Settings, string) error
}

func (o option) flag() string { return flagPrefix + o.name }
func (o option) env() string  { return FlagToEnv(o.flag()) }

var options = []option{
	{"mode", "auto|require|off", string(Auto),
		"auto: use the fabrics where a peer has them and rafthttp elsewhere; require: never fall back to rafthttp; off: plain rafthttp.",
		func(s *Settings, v string) error { s.Mode = Mode(v); return nil }},
	{"fabrics", "list", strings.Join(raftdv.DefaultFabrics(""), ","),
		"Fabrics to use, in order of preference, separated by commas: any of " + strings.Join(knownFabrics, ", ") + " (shm comes first by default if dv-shm-dir is set).",
		func(s *Settings, v string) error { s.Fabrics = splitList(v); return nil }},
	{"listen-udp", "host:port", "",
		"Address that the udp fabric binds (default: host and port of the first peer listener).",
		func(s *Settings, v string) error { s.ListenUDP = v; return nil }},
	{"advertise-udp", "host:port", "",
		"Address that peers send to, behind NAT or in containers (default: as bound).",
		func(s *Settings, v string) error { s.AdvertiseUDP = v; return nil }},
	{"shm-dir", "path", "",
		"Directory where members of this host and user meet that use shared memory with each other (default: no shared memory).",
		func(s *Settings, v string) error { s.ShmDir = v; return nil }},
	{"liveness", "peer-url|fabric", string(PeerURL),
		"peer-url: use a side fabric only while the advertised peer URL answers; fabric: trust a fabric whose address was given.",
		func(s *Settings, v string) error { s.Liveness = Liveness(v); return nil }},
	{electionsName, "off|observe|on", string(defaultElections),
		"on: elections are arbitrated and end in at most three rounds, while all voters have this transport; observe: only say what would be done; off: raft's own.",
		func(s *Settings, v string) error { s.Elections = Elections(v); return nil }},
	{viewsName, "on|off", string(SwitchOn),
		"on: members run in views, with one order for what decides elections, and connect others that have lost each other; off: they do not.",
		func(s *Settings, v string) error { s.Views = Switch(v); return nil }},
	{"delivery", "auto|agreed", raftdv.DeliveryAuto.String(),
		"auto: raft's messages never wait for the agreed order, copies of those that decide elections travel in it; agreed: all of them travel in it, for experiments.",
		func(s *Settings, v string) error { s.Delivery = v; return nil }},
	{relaysName, "on|off", string(SwitchOn),
		"on: members that cannot reach each other do so by way of members that can, while views are on; off: they do not, and this one passes on nothing.",
		func(s *Settings, v string) error { s.Relays = Switch(v); return nil }},
	{"beat", "duration", defaultBeat.String(),
		"How often a member gives a sign of life at least while a view changes or agreed messages are under way.",
		func(s *Settings, v string) error { return setDuration(&s.Beat, v) }},
	{"control-timeout", "duration", defaultControlTimeout.String(),
		"Silence of the peer URL after which side fabrics are given up.",
		func(s *Settings, v string) error { return setDuration(&s.ControlTimeout, v) }},
}

func splitList(v string) []string {
	var out []string
	for f := range strings.SplitSeq(v, ",") {
		out = append(out, strings.TrimSpace(f))
	}
	return out
}

func setDuration(d *time.Duration, v string) error {
	parsed, err := time.ParseDuration(v)
	if err != nil {
		return fmt.Errorf("%q is no duration: write it like 1s or 500ms", v)
	}
	if parsed == 0 {
		return errors.New("0 stands for nothing here: leave it out for the default")
	}
	*d = parsed
	return nil
}

// AddFlags registers every setting as --dv-NAME.
func (s *Settings) AddFlags(fs *flag.FlagSet) {
	for _, o := range options {
		fs.Func(o.flag(), o.help, func(v string) error { return o.set(s, v) })
	}
}

// Usage describes the flags the way etcd describes its own.
func Usage() string {
	var b strings.Builder
	b.WriteString("Raftdv (peer transport):\n")
	for _, o := range options {
		fmt.Fprintf(&b, "  --%s '%s'\n    %s (%s)\n", o.flag(), o.def, o.help, o.arg)
	}
	return b.String()
}

// FlagToEnv names the variable that a flag has.
func FlagToEnv(name string) string {
	return "ETCD_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}

// FromEnviron reads the ETCD_DV_* variables. The error lists every variable
// that is unknown or cannot be parsed.
func FromEnviron() (Settings, error) {
	var s Settings
	var errs []error
	for _, kv := range os.Environ() {
		name, value, _ := strings.Cut(kv, "=")
		if !strings.HasPrefix(name, EnvPrefix) || value == "" {
			continue
		}
		if err := s.setBy(option.env, name, value); err != nil {
			errs = append(errs, explainService(name, err))
		}
	}
	return s, errors.Join(errs...)
}

// serviceVariable matches what Kubernetes puts into the environment for a
// Service whose name begins with etcd-dv.
var serviceVariable = regexp.MustCompile("^" + EnvPrefix + `(\w+_)?(SERVICE_HOST|SERVICE_PORT|PORT)(_\w+)?$`)

// explainService says where a variable comes from that nobody has set.
func explainService(name string, err error) error {
	if !serviceVariable.MatchString(name) {
		return err
	}
	return fmt.Errorf("%w; Kubernetes makes this of a Service whose name begins with etcd-dv: set enableServiceLinks: false in the pod", err)
}

// setBy sets the option that is called name in the spelling of key.
func (s *Settings) setBy(key func(option) string, name, value string) error {
	var known []string
	for _, o := range options {
		if key(o) == name {
			if err := o.set(s, value); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			return nil
		}
		known = append(known, key(o))
	}
	return fmt.Errorf("%s is unknown: use any of %s", name, strings.Join(known, ", "))
}

// FromConfigFile reads the top-level dv map of etcd's configuration file,
// strictly: an unknown or repeated key is a fault, and all faults are listed.
// Of the rest of the file, which is etcd's, only listen-peer-urls is looked at.
func FromConfigFile(text []byte) (Settings, error) {
	var s Settings
	var file yaml.MapSlice
	if err := yaml.Unmarshal(text, &file); err != nil {
		return s, fmt.Errorf("parse: %w", err)
	}
	var errs []error
	seen := map[string]bool{}
	for _, top := range file {
		if urls, ok := top.Value.(string); ok && top.Key == listenKey {
			s.SetPeerListener(urls)
		}
		if top.Key != fileKey || top.Value == nil {
			continue
		}
		settings, ok := top.Value.(yaml.MapSlice)
		if !ok {
			errs = append(errs, fmt.Errorf("%s: is %T: write a map of settings", fileKey, top.Value))
		}
		for _, item := range settings {
			errs = append(errs, s.setFromFile(item, seen))
		}
	}
	return s, errors.Join(errs...)
}

func (s *Settings) setFromFile(item yaml.MapItem, seen map[string]bool) error {
	name, ok := item.Key.(string)
	if !ok {
		return fmt.Errorf("%s: key %v is no name", fileKey, item.Key)
	}
	full := fileKey + "." + name
	if seen[name] {
		return fmt.Errorf("%s is given twice: keep one", full)
	}
	seen[name] = true
	value, err := scalar(name, item.Value)
	if err != nil {
		return fmt.Errorf("%s: %w", full, err)
	}
	return s.setBy(func(o option) string { return fileKey + "." + o.name }, full, value)
}

// scalar turns a YAML value into the text that a flag would have. false is
// what YAML makes of a bare off, true of a bare on.
func scalar(name string, v any) (string, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case bool:
		switch {
		case !v:
			return string(Off), nil
		case name == electionsName || name == relaysName || name == viewsName:
			return string(SwitchOn), nil
		}
	case []any:
		var parts []string
		for _, e := range v {
			text, ok := e.(string)
			if !ok {
				return "", fmt.Errorf("list element %v is no text: put it in quotes", e)
			}
			parts = append(parts, text)
		}
		return strings.Join(parts, ","), nil
	}
	return "", fmt.Errorf("value %v is %T: write text (durations with their unit, like 1s)", v, v)
}
