package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/raftdv/dv/raftdv/plug"
)

func TestParse(t *testing.T) {
	for name, tc := range map[string]struct {
		args string // without the program
		etcd string // what etcd gets
		own  string // what we get
	}{
		"nothing":                    {"", "", ""},
		"etcd's only":                {"--name m1 --data-dir=/d", "--name m1 --data-dir=/d", ""},
		"ours between":               {"--name m1 --dv-mode=off --data-dir /d", "--name m1 --data-dir /d", "dv-mode=off"},
		"ours in two words":          {"--dv-mode off --name m1", "--name m1", "dv-mode=off"},
		"one dash":                   {"-dv-mode=off -name m1", "-name m1", "dv-mode=off"},
		"bool of etcd's before ours": {"--pre-vote --dv-mode=off", "--pre-vote", "dv-mode=off"},
		"bool with a value":          {"--pre-vote=false --dv-mode=off", "--pre-vote=false", "dv-mode=off"},
		"value that looks like ours": {"--name --dv-mode=off", "--name --dv-mode=off", ""},
		"ours without a value":       {"--dv-mode", "", "dv-mode"},
		"unknown of ours":            {"--dv-mood=x", "", "dv-mood=x"},
		"unknown of etcd's":          {"--no-such=x --dv-mode=off", "--no-such=x", "dv-mode=off"},
		"a word ends the flags":      {"--name m1 word --dv-mode=off", "--name m1 word --dv-mode=off", ""},
		"two dashes end the flags":   {"--name m1 -- --dv-mode=off", "--name m1 -- --dv-mode=off", ""},
		"broken flag":                {"---x --dv-mode=off", "---x --dv-mode=off", ""},
		"gateway":                    {"gateway start --dv-mode=off", "gateway start --dv-mode=off", ""},
	} {
		t.Run(name, func(t *testing.T) {
			cl := parse(append([]string{"etcd-dv"}, strings.Fields(tc.args)...))
			var own []string
			for _, f := range cl.own {
				s := f.name
				if f.hasValue {
					s += "=" + f.value
				}
				own = append(own, s)
			}
			if got := strings.Join(cl.etcdArgs, " "); got != strings.TrimSpace("etcd-dv "+tc.etcd) {
				t.Errorf("etcd gets %q, want %q", got, tc.etcd)
			}
			if got := strings.Join(own, " "); got != tc.own {
				t.Errorf("we get %q, want %q", got, tc.own)
			}
		})
	}
}

func TestParseNotes(t *testing.T) {
	for args, want := range map[string]commandLine{
		"--version":                 {version: true},
		"-version":                  {version: true},
		"--version=false":           {},
		"--name m1 --help":          {help: true},
		"-h":                        {help: true},
		"--config-file /c":          {configFile: "/c"},
		"--config-file=/c":          {configFile: "/c"},
		"--name --version":          {},
		"grpc-proxy start -h":       {subcommand: true},
		"--name x -- --version":     {},
		"--dv-mode=off --version=1": {version: true},
	} {
		got := parse(append([]string{"etcd-dv"}, strings.Fields(args)...))
		if got.version != want.version || got.help != want.help || got.configFile != want.configFile || got.subcommand != want.subcommand {
			t.Errorf("%q: %+v, want %+v", args, got, want)
		}
	}
}

func TestApplyTo(t *testing.T) {
	s := plug.Settings{Mode: plug.Off, Liveness: plug.Fabric}
	cl := parse([]string{"etcd-dv", "--dv-mode=auto", "--dv-fabrics", "stream,udp"})
	if err := cl.applyTo(&s); err != nil {
		t.Fatal(err)
	}
	if s.Mode != plug.Auto || !slices.Equal(s.Fabrics, []string{"stream", "udp"}) || s.Liveness != plug.Fabric {
		t.Errorf("got %+v", s)
	}
	cl = parse([]string{"etcd-dv", "--dv-mood=x", "--dv-control-timeout=soon", "--dv-mode"})
	err := cl.applyTo(&s)
	for _, want := range []string{"--dv-mood is unknown", "--dv-mode needs a value", `--dv-control-timeout: "soon"`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in: %v", want, err)
		}
	}
}

// split must know which of etcd's flags stand alone, or it would take the
// next argument for a value.
func TestEtcdBools(t *testing.T) {
	bools := etcdBools()
	for name, want := range map[string]bool{
		"version": true, "pre-vote": true, "client-cert-auth": true, "auto-tls": true,
		"name": false, "data-dir": false, "config-file": false, "listen-peer-urls": false,
	} {
		if bools[name] != want {
			t.Errorf("--%s stands alone: %v, want %v", name, bools[name], want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("--name m1 --dv-mode=off --dv-fabrics udp")
	f.Fuzz(func(t *testing.T, args string) {
		in := strings.Fields(args)
		cl := parse(append([]string{"etcd-dv"}, in...))
		out := len(cl.etcdArgs) - 1
		for _, own := range cl.own {
			out += len(own.raw)
		}
		if out != len(in) {
			t.Errorf("%d arguments became %d", len(in), out)
		}
	})
}
