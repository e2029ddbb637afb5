package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// goodServer is the smallest tree that looks like a server to the generator.
var goodServer = map[string]string{
	"go.mod": "module go.etcd.io/etcd/server/v3\n",
	"etcdserver/server.go": `package etcdserver

import (
	"go.etcd.io/etcd/server/v3/config"
	"go.etcd.io/etcd/server/v3/etcdserver/api/rafthttp"
)

func NewServer(cfg config.ServerConfig) *EtcdServer {
	tr := &rafthttp.Transport{
		ID: 1, // the end of the literal is on another line
	}
	return &EtcdServer{tr}
}

func (s *EtcdServer) CutPeer() {
	tr, ok := s.transport.(*rafthttp.Transport)
	_, _ = tr, ok
}

func (s *EtcdServer) MendPeer() {
	tr, ok := s.transport.(*rafthttp.Transport)
	_, _ = tr, ok
}
`,
	"etcdserver/raft.go": `package etcdserver

import "go.etcd.io/etcd/server/v3/etcdserver/api/rafthttp"

type EtcdServer struct{ transport rafthttp.Transporter }
`,
	"etcdserver/server_test.go": `package etcdserver

import "go.etcd.io/etcd/server/v3/etcdserver/api/rafthttp"

var inTest = &rafthttp.Transport{}
`,
	"etcdserver/api/etcdhttp/metrics.go": `package etcdhttp

import "net/http"

func HandleMetrics(mux *http.ServeMux) {
	mux.Handle("/metrics", nil)
}

func HandleOther(mux *http.ServeMux) {}
`,
	"etcdserver/api/v3rpc/grpc.go": `package v3rpc

import "google.golang.org/grpc"

func Server(s any) *grpc.Server {
	grpcServer := grpc.NewServer()
	return grpcServer
}

func Other() *grpc.Server { return nil }
`,
	"embed/etcd.go": `package embed

import "net/http"

func serveMetrics() {
	start(func() error { return http.Serve(ml, mux) })
	(&http.Server{}).Serve(ml)
}
`,
	"etcdserver/api/rafthttp/transport.go": "package rafthttp\n\ntype Transport struct{}\n",
}

// writeServer lays out goodServer after change has been at server.go.
func writeServer(t *testing.T, change func(string) string, extra map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for _, files := range []map[string]string{goodServer, extra} {
		for name, text := range files {
			if name == "etcdserver/server.go" && change != nil {
				text = change(text)
			}
			p := filepath.Join(dir, name)
			if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	return dir
}

func read(t *testing.T, elem ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(elem...))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestPatchTree(t *testing.T) {
	dir := writeServer(t, nil, nil)
	if err := patchTree(dir, "v3.7.9"); err != nil {
		t.Fatal(err)
	}
	got := read(t, dir, "etcdserver/server.go")
	for _, want := range []string{
		`api/rafthttp"; dvplug "github.com/raftdv/dv/raftdv/plug"`,
		"tr := dvplug.New(cfg, &rafthttp.Transport{\n",
		"\t})\n\treturn",
		"func (s *EtcdServer) CutPeer() {\n\ttr, ok := s.transport.(dvplug.Transport)",
		"func (s *EtcdServer) MendPeer() {\n\ttr, ok := s.transport.(dvplug.Transport)",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in:\n%s", want, got)
		}
	}
	if a, b := strings.Count(got, "\n"), strings.Count(goodServer["etcdserver/server.go"], "\n"); a != b {
		t.Errorf("%d lines became %d: traces no longer point at upstream's lines", b, a)
	}
	for _, untouched := range []string{"etcdserver/raft.go", "etcdserver/server_test.go"} {
		if read(t, dir, untouched) != goodServer[untouched] {
			t.Errorf("%s was changed", untouched)
		}
	}
	wantMetrics := strings.Replace(goodServer["etcdserver/api/etcdhttp/metrics.go"], "nil)\n}", "nil); dvplug.HandleDebug(mux)\n}", 1)
	wantMetrics = strings.Replace(wantMetrics, `"net/http"`, `"net/http"; dvplug "github.com/raftdv/dv/raftdv/plug"`, 1)
	if got := read(t, dir, "etcdserver/api/etcdhttp/metrics.go"); got != wantMetrics {
		t.Errorf("got:\n%s\nwant:\n%s", got, wantMetrics)
	}
	if got := read(t, dir, "etcdserver/api/v3rpc/grpc.go"); !strings.Contains(got, "\tdvplug.HandleServices(grpcServer, s); return grpcServer\n") {
		t.Errorf("got:\n%s", got)
	}
	if got := read(t, dir, "embed/etcd.go"); !strings.Contains(got, "return dvplug.ServeMetrics(ml, mux)") || !strings.Contains(got, "(&http.Server{}).Serve(ml)") {
		t.Errorf("got:\n%s", got)
	}
	if hook := read(t, dir, hookFile); !strings.Contains(hook, `MarkHooked("v3.7.9")`) {
		t.Errorf("hook file:\n%s", hook)
	}
}

func TestPatchTreeImportName(t *testing.T) {
	dir := writeServer(t, func(s string) string {
		s = strings.Replace(s, `"go.etcd.io/etcd/server/v3/etcdserver/api/rafthttp"`, `rh "go.etcd.io/etcd/server/v3/etcdserver/api/rafthttp"`, 1)
		s = strings.Replace(s, `"go.etcd.io/etcd/server/v3/config"`, `conf "go.etcd.io/etcd/server/v3/config"`, 1)
		s = strings.Replace(s, "cfg config.", "settings conf.", 1)
		return strings.ReplaceAll(s, "rafthttp.Transport", "rh.Transport")
	}, nil)
	if err := patchTree(dir, "v3.7.9"); err != nil {
		t.Fatal(err)
	}
	if got := read(t, dir, "etcdserver/server.go"); !strings.Contains(got, "dvplug.New(settings, &rh.Transport{") {
		t.Errorf("got:\n%s", got)
	}
}

// A server that does not look exactly as known must be refused, untouched,
// with what was found and what to do.
func TestPatchTreeRefuses(t *testing.T) {
	const lit = "&rafthttp.Transport{"
	const assertion = "s.transport.(*rafthttp.Transport)"
	for name, tc := range map[string]struct {
		change func(string) string
		extra  map[string]string
		want   []string
	}{
		"does not parse": {
			change: func(s string) string { return strings.Replace(s, lit, "newTransport(struct{ID int}{", 1) + "\n" },
			want:   []string{"parse"},
		},
		"literal gone": {
			change: func(s string) string {
				return strings.Replace(s, "tr := &rafthttp.Transport{\n\t\tID: 1, // the end of the literal is on another line\n\t}", "tr := newTransport()", 1)
			},
			want: []string{"found 0 &rafthttp.Transport{…} literals (want 1)"},
		},
		"two literals": {
			change: func(s string) string { return s + "\nvar second = &rafthttp.Transport{}\n" },
			want:   []string{"found 2 &rafthttp.Transport{…} literals", "server.go:25:14: literal"},
		},
		"literal of the value": {
			change: func(s string) string { return strings.Replace(s, lit, "rafthttp.Transport{", 1) },
			want:   []string{"found 0 &rafthttp.Transport{…} literals", "1 other uses"},
		},
		"one assertion": {
			change: func(s string) string { return strings.Replace(s, assertion, "s.transport.(cutter)", 1) },
			want:   []string{"1 .(*rafthttp.Transport) assertions (want 2)"},
		},
		"three assertions": {
			change: func(s string) string {
				return s + "\nfunc (s *EtcdServer) third() { _ = s.transport.(*rafthttp.Transport) }\n"
			},
			want: []string{"3 .(*rafthttp.Transport) assertions (want 2)"},
		},
		"type switch": {
			change: func(s string) string {
				return s + "\nfunc (s *EtcdServer) f() { switch s.transport.(type) { case *rafthttp.Transport: } }\n"
			},
			want: []string{"1 other uses (want 0)"},
		},
		"new": {
			change: func(s string) string { return s + "\nvar other = new(rafthttp.Transport)\n" },
			want:   []string{"1 other uses (want 0)"},
		},
		"dot import": {
			extra: map[string]string{"etcdserver/dot.go": "package etcdserver\n\nimport . \"go.etcd.io/etcd/server/v3/etcdserver/api/rafthttp\"\n\nvar dot = &Transport{}\n"},
			want:  []string{"dot.go:3:8: other use"},
		},
		"elsewhere": {
			extra: map[string]string{"embed/other.go": "package embed\n\nimport \"go.etcd.io/etcd/server/v3/etcdserver/api/rafthttp\"\n\nvar t rafthttp.Transport\n"},
			want:  []string{"embed/other.go:5:7", "outside of package etcdserver"},
		},
		"no metrics": {
			extra: map[string]string{"etcdserver/api/etcdhttp/metrics.go": "package etcdhttp\n\nfunc HandleMetrics(mux any) {}\n"},
			want:  []string{"found 0 func HandleMetrics(*http.ServeMux) in etcdserver/api/etcdhttp (want 1)"},
		},
		"metrics twice": {
			extra: map[string]string{"etcdserver/api/etcdhttp/again.go": "//go:build other\n\npackage etcdhttp\n\nimport \"net/http\"\n\nfunc HandleMetrics(m *http.ServeMux) {}\n"},
			want:  []string{"found 2 func HandleMetrics", "metrics.go:6:29: HandleMetrics"},
		},
		"no services": {
			extra: map[string]string{"etcdserver/api/v3rpc/grpc.go": "package v3rpc\n\nimport \"google.golang.org/grpc\"\n\nfunc Server() *grpc.Server { return grpc.NewServer() }\n"},
			want:  []string{"found 0 func Server(s, …) *grpc.Server that return a variable in etcdserver/api/v3rpc (want 1)"},
		},
		"another result": {
			extra: map[string]string{"etcdserver/api/v3rpc/grpc.go": "package v3rpc\n\nimport \"google.golang.org/grpc\"\n\nfunc Server() (s grpc.Server) { return s }\n"},
			want:  []string{"found 0 func Server"},
		},
		"metrics served otherwise": {
			extra: map[string]string{"embed/etcd.go": "package embed\n\nimport \"net/http\"\n\nfunc f() { new(http.Server).Serve(nil) }\n"},
			want:  []string{"found 0 calls of http.Serve in embed (want 1)"},
		},
		"more is served": {
			extra: map[string]string{"embed/more.go": "package embed\n\nimport web \"net/http\"\n\nfunc f() { web.Serve(nil, nil) }\n"},
			want:  []string{"found 2 calls of http.Serve in embed (want 1)", "more.go:5:12: Serve"},
		},
		"no configuration": {
			change: func(s string) string {
				return strings.Replace(s, "cfg config.ServerConfig", "cfg *config.ServerConfig", 1)
			},
			want: []string{"no parameter of type config.ServerConfig"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := writeServer(t, tc.change, tc.extra)
			before := read(t, dir, "etcdserver/server.go")
			err := patchTree(dir, "v3.7.9")
			if err == nil {
				t.Fatal("was patched")
			}
			want := tc.want
			if want[0] != "parse" {
				want = append(want, "go.etcd.io/etcd/server/v3@v3.7.9", "go get", "internal/patch/splice.go")
			}
			for _, w := range want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("no %q in: %v", w, err)
				}
			}
			if read(t, dir, "etcdserver/server.go") != before {
				t.Error("server.go was changed all the same")
			}
			if _, err := os.Stat(filepath.Join(dir, hookFile)); err == nil {
				t.Error("the hook was marked all the same")
			}
		})
	}
}
