package main

import (
	"flag"
	"fmt"
	"io"
	"os"
)

func main() {
	logPath := flag.String("log", "", "write all that the tests print to this file")
	lines := flag.Bool("lines", false, "end with the result lines of all tests, as go test -v prints them")
	flag.Parse()
	ok, err := run(os.Stdin, os.Stdout, *logPath, *lines)
	if err != nil {
		fmt.Fprintln(os.Stderr, "testsum:", err)
	}
	if !ok || err != nil {
		os.Exit(1)
	}
}

func run(in io.Reader, out io.Writer, logPath string, lines bool) (bool, error) {
	var log io.Writer = io.Discard
	if logPath != "" {
		f, err := os.Create(logPath)
		if err != nil {
			return false, err
		}
		defer f.Close()
		log = f
	}
	s := newSummary(out, log)
	if err := s.read(in); err != nil {
		return false, err
	}
	s.finish(lines)
	return s.ok(), nil
}
