package tidy

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"
)

// A Tree is the files of a repository by their slash-separated names, without
// what is built or generated from other modules.
type Tree struct {
	Root  string
	Files []string
}

// ignored mirrors .gitignore.
func ignored(name string, dir bool) bool {
	if dir {
		return name == ".git" || name == ".build" || name == "bin" || name == "runs"
	}
	return strings.HasSuffix(name, ".test") || strings.HasSuffix(name, ".prof")
}

// Load lists the files below root.
func Load(root string) (Tree, error) {
	t := Tree{Root: root}
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		switch name := filepath.ToSlash(rel); {
		case d.IsDir() && name != "." && ignored(name, true):
			return fs.SkipDir
		case !d.IsDir() && !ignored(name, false):
			t.Files = append(t.Files, name)
		}
		return nil
	})
	return t, err
}

// GoFiles are the Go files that belong to the module: not those in testdata.
func (t Tree) GoFiles() []string {
	return slices.DeleteFunc(slices.Clone(t.Files), func(f string) bool {
		return !strings.HasSuffix(f, ".go") || slices.Contains(strings.Split(path.Dir(f), "/"), "testdata")
	})
}

func (t Tree) read(name string) ([]byte, error) {
	return os.ReadFile(filepath.Join(t.Root, filepath.FromSlash(name)))
}

// text returns false for a file that is no text.
func (t Tree) text(name string) (string, bool, error) {
	b, err := t.read(name)
	if err != nil {
		return "", false, err
	}
	return string(b), utf8.Valid(b) && !slices.Contains(b, 0), nil
}

func fault(name, format string, args ...any) string {
	return name + ": " + fmt.Sprintf(format, args...)
}
