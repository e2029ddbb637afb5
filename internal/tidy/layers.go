package tidy

import (
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"
	"strings"
)

const module = "github.com/raftdv/dv"

// rank orders the layers: a package imports its own rank and lower ones.
// internal is apart: everybody may import it, it imports nothing else.
var rank = map[string]int{
	"internal": 0, "fabric": 1, "barrier": 2, "ordered": 3, "raftdv": 4, "integration": 5, "cmd": 6, "docs": 6,
}

// raftless are the layers that know no raft: they carry bytes.
var raftless = map[string]bool{"internal": true, "fabric": true, "barrier": true, "ordered": true}

// raftTypes are what they may not import.
var raftTypes = []string{"go.etcd.io/raft", "go.etcd.io/etcd/server"}

// Layers: cmd > integration > raftdv > ordered > barrier > fabric; imports
// point down. Tests may import integration from anywhere.
func Layers(t Tree) (faults []string, err error) {
	for _, f := range t.GoFiles() {
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(t.Root, filepath.FromSlash(f)), nil, parser.ImportsOnly)
		if err != nil {
			return nil, err
		}
		for _, spec := range file.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return nil, err
			}
			if why := badImport(f, imported); why != "" {
				faults = append(faults, fault(f, "imports %s: %s", imported, why))
			}
		}
	}
	return faults, nil
}

// badImport returns why file may not import path, "" if it may.
func badImport(file, imported string) string {
	layer, _, _ := strings.Cut(file, "/")
	test := strings.HasSuffix(file, "_test.go")
	if !test && raftless[layer] {
		for _, p := range raftTypes {
			if within(imported, p) {
				return layer + " carries bytes and knows no raft"
			}
		}
	}
	rest, ours := strings.CutPrefix(imported, module+"/")
	if !ours {
		return ""
	}
	target, _, _ := strings.Cut(rest, "/")
	switch {
	case target == "internal" || test && target == "integration":
		return ""
	case layer == "internal" && !test:
		return "internal packages are leaves"
	case rank[target] > rank[layer]:
		return layer + " lies below " + target
	case within(rest, "raftdv/plug") && layer == "raftdv" && !strings.HasPrefix(file, "raftdv/plug/"):
		return "the plug calls the transport, not the other way round"
	}
	return ""
}

// within reports whether path is root or below it; a version may follow.
func within(path, root string) bool {
	return path == root || strings.HasPrefix(path, root+"/")
}
