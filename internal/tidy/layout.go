package tidy

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// maxFile is larger than anything that somebody wrote.
const maxFile = 1 << 20

// top is the top level; true marks what must be there.
var top = map[string]bool{
	"go.mod": true, "go.sum": true,
	"raftdv": true, "ordered": false, "barrier": false, "fabric": true,
	"cmd": true, "integration": true, "docs": true, "internal": true,
	"Dockerfile": true, "Makefile": true,
	"README.md": true, "LICENSE": true, "CHANGELOG.md": true, "CONTRIBUTING.md": true, "SECURITY.md": true,
	".ci": true, ".gitignore": true,
}

// TopLevel: nothing but the named folders and files, and all of them.
func TopLevel(t Tree) (faults []string, err error) {
	present := map[string]bool{}
	for _, f := range t.Files {
		name, _, _ := strings.Cut(f, "/")
		if _, known := top[name]; !known && !present[name] {
			faults = append(faults, fault(name, "does not belong at the top level"))
		}
		present[name] = true
	}
	for name, must := range top {
		if must && !present[name] {
			faults = append(faults, fault(name, "is missing"))
		}
	}
	slices.Sort(faults)
	return faults, nil
}

// Sizes: no file above maxFile.
func Sizes(t Tree) (faults []string, err error) {
	for _, f := range t.Files {
		info, err := os.Stat(filepath.Join(t.Root, filepath.FromSlash(f)))
		if err != nil {
			return nil, err
		}
		if info.Size() > maxFile {
			faults = append(faults, fault(f, "%d bytes: more than %d", info.Size(), maxFile))
		}
	}
	return faults, nil
}
