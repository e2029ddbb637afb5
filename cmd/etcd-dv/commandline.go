package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"

	"go.etcd.io/etcd/server/v3/embed"

	"github.com/raftdv/dv/raftdv/plug"
)

const ownPrefix = "dv-"

// A commandLine is what the arguments hold for us, and the rest for etcd.
type commandLine struct {
	etcdArgs   []string
	subcommand bool // gateway and grpc-proxy have no peers
	help       bool
	version    bool
	configFile string
	// listenPeerURLs is etcd's flag.
	listenPeerURLs string

	own []flagArg // --dv-* flags
}

// parse takes the --dv-* flags out of args and leaves all others, with their
// order, spelling and faults, to etcd.
func parse(args []string) commandLine {
	var cl commandLine
	if len(args) > 1 && (args[1] == "gateway" || args[1] == "grpc-proxy") {
		cl.subcommand, cl.etcdArgs = true, args
		return cl
	}
	flags, rest := split(args[1:], etcdBools())
	cl.etcdArgs = append(cl.etcdArgs, args[0])
	for _, f := range flags {
		if strings.HasPrefix(f.name, ownPrefix) {
			cl.own = append(cl.own, f)
			continue
		}
		cl.note(f)
		cl.etcdArgs = append(cl.etcdArgs, f.raw...)
	}
	cl.etcdArgs = append(cl.etcdArgs, rest...)
	return cl
}

// applyTo sets what the flags say and returns all of their faults.
func (cl commandLine) applyTo(s *plug.Settings) error {
	fs := flag.NewFlagSet("etcd-dv", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	s.AddFlags(fs)
	var errs []error
	for _, f := range cl.own {
		errs = append(errs, set(fs, f))
	}
	return errors.Join(errs...)
}

func set(fs *flag.FlagSet, f flagArg) error {
	switch {
	case fs.Lookup(f.name) == nil:
		return fmt.Errorf("--%s is unknown: see etcd-dv --help", f.name)
	case !f.hasValue:
		return fmt.Errorf("--%s needs a value: see etcd-dv --help", f.name)
	}
	if err := fs.Set(f.name, f.value); err != nil {
		return fmt.Errorf("--%s: %w", f.name, err)
	}
	return nil
}

// note keeps what we need to know of etcd's own flags.
func (cl *commandLine) note(f flagArg) {
	on := !f.hasValue || f.value == "true" || f.value == "1"
	switch f.name {
	case "h", "help":
		cl.help = on
	case "version":
		cl.version = on
	case "config-file":
		cl.configFile = f.value
	case "listen-peer-urls":
		cl.listenPeerURLs = f.value
	}
}

// A flagArg is one flag with its value, if it has one, as package flag would
// read it, and the one or two arguments that it was written as.
type flagArg struct {
	name, value string
	hasValue    bool
	raw         []string
}

// split reads args as package flag does, up to the first that is no flag.
func split(args []string, bools map[string]bool) (flags []flagArg, rest []string) {
	for i := 0; i < len(args); i++ {
		f, ok := parseFlag(args[i])
		if !ok {
			return flags, args[i:]
		}
		if !f.hasValue && !bools[f.name] && i+1 < len(args) {
			i++
			f.value, f.hasValue = args[i], true
			f.raw = append(f.raw, args[i])
		}
		flags = append(flags, f)
	}
	return flags, nil
}

func parseFlag(arg string) (flagArg, bool) {
	name, ok := strings.CutPrefix(arg, "-")
	if !ok {
		return flagArg{}, false
	}
	name = strings.TrimPrefix(name, "-")
	if name == "" || name[0] == '-' || name[0] == '=' {
		return flagArg{}, false
	}
	f := flagArg{raw: []string{arg}}
	f.name, f.value, f.hasValue = strings.Cut(name, "=")
	return f, true
}

// etcdBools names the flags that take no second argument.
func etcdBools() map[string]bool {
	fs := flag.NewFlagSet("etcd", flag.ContinueOnError)
	embed.NewConfig().AddFlags(fs)
	bools := map[string]bool{"version": true, "h": true, "help": true}
	fs.VisitAll(func(f *flag.Flag) {
		if b, ok := f.Value.(interface{ IsBoolFlag() bool }); ok && b.IsBoolFlag() {
			bools[f.Name] = true
		}
	})
	return bools
}
