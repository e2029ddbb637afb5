package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestParseNamesImportsFirst(t *testing.T) {
	top := t.TempDir()
	files := map[string]string{
		"a/one.proto": `syntax = "proto3"; package a; option go_package = "x/a"; import "b/two.proto"; import "google/protobuf/timestamp.proto"; message One { b.Two two = 1; google.protobuf.Timestamp at = 2; }`,
		"b/two.proto": `syntax = "proto3"; package b; option go_package = "x/b"; message Two {}`,
	}
	for name, text := range files {
		path := filepath.Join(top, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	r, err := parse(t.Context(), top, "a/one.proto")
	if err != nil {
		t.Fatal(err)
	}
	var order []string
	for _, f := range r.GetProtoFile() {
		order = append(order, f.GetName())
	}
	if got := strings.Join(order, " "); got != "b/two.proto google/protobuf/timestamp.proto a/one.proto" || r.GetFileToGenerate()[0] != "a/one.proto" {
		t.Errorf("order %q, to generate %q", got, r.GetFileToGenerate())
	}
}

func TestParseSaysWhereAFaultIs(t *testing.T) {
	top := t.TempDir()
	if err := os.WriteFile(filepath.Join(top, "bad.proto"), []byte("syntax = \"proto3\";\nmessage One { string = 1; }\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := parse(t.Context(), top, "bad.proto"); err == nil || !strings.Contains(err.Error(), "bad.proto:2:") {
		t.Errorf("got %v", err)
	}
}

func TestModuleTop(t *testing.T) {
	top, err := moduleTop()
	if err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(filepath.Join(top, "go.mod")); err != nil || !strings.HasPrefix(string(text), "module github.com/raftdv/dv\n") {
		t.Errorf("%s: %v", top, err)
	}
	t.Chdir("/")
	if _, err := moduleTop(); err == nil {
		t.Error("found a module at the root of the file system")
	}
}
