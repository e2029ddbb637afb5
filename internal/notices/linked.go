package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// A source is a module, or Go itself, with the folders of what is linked of it.
type source struct {
	name string // path and version
	root string
	dirs []string
}

// A listed package is what go list says of it.
type listed struct {
	Dir      string
	Standard bool
	Module   *struct {
		Path, Version, Dir string
		Main               bool
		Replace            *struct{ Dir string }
	}
}

// linkedInto returns what is linked into a program, this module's own code
// aside.
func linkedInto(modFile, pkg string) ([]*source, error) {
	goroot, err := goTool("env", "GOROOT")
	if err != nil {
		return nil, err
	}
	out, err := goTool("list", "-modfile="+modFile, "-deps", "-json=Dir,Standard,Module", pkg)
	if err != nil {
		return nil, err
	}
	var all []*source
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, err
		}
		name, root := p.from(strings.TrimSpace(string(goroot)))
		if name == "" {
			continue
		}
		i := slices.IndexFunc(all, func(s *source) bool { return s.name == name })
		if i < 0 {
			i, all = len(all), append(all, &source{name: name, root: root})
		}
		all[i].dirs = append(all[i].dirs, p.Dir)
	}
}

// from names the source of a package; no name, where nothing has to be said.
func (p listed) from(goroot string) (name, root string) {
	switch {
	case p.Standard:
		return runtime.Version() + ", runtime and standard library", goroot
	case p.Module == nil || p.Module.Main:
		return "", ""
	case p.Module.Replace != nil:
		return p.Module.Path + " " + p.Module.Version + ", modified by " + ownModule, filepath.Clean(p.Module.Replace.Dir)
	}
	return p.Module.Path + " " + p.Module.Version, p.Module.Dir
}

// ownModule replaces a module of others by a changed copy: see internal/patch.
const ownModule = "github.com/raftdv/dv"

func goTool(args ...string) ([]byte, error) {
	cmd := exec.Command("go", args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("go %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return out, err
}
