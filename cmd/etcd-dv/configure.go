package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"go.etcd.io/etcd/server/v3/embed"

	"github.com/raftdv/dv/raftdv/plug"
)

// errNotHooked says how to build a binary that can do what its name says.
var errNotHooked = errors.New(`this binary was built with etcd's untouched server, whose peer transport cannot be replaced:
build it with make build, or
  go run ./internal/patch && go build -modfile=.build/go.mod -o bin/etcd-dv ./cmd/etcd-dv`)

// configure hands the settings to the plug. It returns all faults at once.
func configure(cl commandLine) error {
	var errs []error
	if _, ok := plug.Hooked(); !ok {
		errs = append(errs, errNotHooked)
	}
	s, err := settings(cl)
	if err != nil {
		return errors.Join(append(errs, err, s.Validate())...)
	}
	return errors.Join(append(errs, plug.Configure(s))...)
}

// settings follows etcd's rule: a configuration file replaces flags and
// environment.
func settings(cl commandLine) (plug.Settings, error) {
	s, variables, envErr := takeEnviron()
	path := cl.configFile
	if path == "" {
		path = os.Getenv("ETCD_CONFIG_FILE")
	}
	if path == "" {
		err := errors.Join(envErr, shadowed(cl, variables), cl.applyTo(&s))
		s.SetPeerListener(cmp.Or(cl.listenPeerURLs, os.Getenv("ETCD_LISTEN_PEER_URLS"), embed.DefaultListenPeerURLs))
		return s, err
	}
	warnIgnored(cl, variables, path)
	text, err := os.ReadFile(path)
	if err != nil {
		return plug.Settings{}, nil // etcd does not start either, and says why in its own way
	}
	s, err = plug.FromConfigFile(text)
	if err != nil {
		err = fmt.Errorf("--config-file %s: %w", path, err)
	}
	return s, err
}

// takeEnviron reads our variables and unsets them: etcd warns of every ETCD_*
// that it does not know.
func takeEnviron() (s plug.Settings, variables []string, err error) {
	s, err = plug.FromEnviron()
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		if strings.HasPrefix(name, plug.EnvPrefix) {
			variables = append(variables, name)
			os.Unsetenv(name)
		}
	}
	return s, variables, err
}

// shadowed refuses, as etcd does, a setting that comes from a flag and a
// variable.
func shadowed(cl commandLine, variables []string) error {
	var errs []error
	for _, f := range cl.own {
		if v := plug.FlagToEnv(f.name); slices.Contains(variables, v) {
			errs = append(errs, fmt.Errorf("--%s and %s are both set: drop one", f.name, v))
		}
	}
	return errors.Join(errs...)
}

func warnIgnored(cl commandLine, variables []string, path string) {
	ignored := slices.Clone(variables)
	for _, f := range cl.own {
		ignored = append(ignored, "--"+f.name)
	}
	if len(ignored) > 0 {
		fmt.Fprintf(os.Stderr, "etcd-dv: warning: %s holds, and these are ignored as etcd ignores its own: %s\n", path, strings.Join(ignored, ", "))
	}
}

// indent makes a list of joined errors, one item each.
func indent(err error) string {
	var items []string
	for _, e := range flatten(err) {
		items = append(items, "  - "+strings.ReplaceAll(e.Error(), "\n", "\n    "))
	}
	return strings.Join(items, "\n")
}

func flatten(err error) []error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var all []error
	for _, e := range joined.Unwrap() {
		all = append(all, flatten(e)...)
	}
	return all
}
