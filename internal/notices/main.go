package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"strings"
)

func main() {
	out := flag.String("o", "", "file to write")
	flag.Parse()
	if err := run(*out, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "notices:", err)
		os.Exit(1)
	}
}

func run(out string, programs []string) error {
	if out == "" || len(programs) == 0 {
		return fmt.Errorf("say where to write and what about: notices -o FILE MODFILE=PACKAGE")
	}
	var all notices
	for _, p := range programs {
		modFile, pkg, ok := strings.Cut(p, "=")
		if !ok {
			return fmt.Errorf("%q is no MODFILE=PACKAGE", p)
		}
		linked, err := linkedInto(modFile, pkg)
		if err != nil {
			return err
		}
		all.programs = append(all.programs, pkg)
		if err := all.add(linked); err != nil {
			return fmt.Errorf("%s: %w", pkg, err)
		}
	}
	var b bytes.Buffer
	all.write(&b)
	return os.WriteFile(out, b.Bytes(), 0o644)
}
