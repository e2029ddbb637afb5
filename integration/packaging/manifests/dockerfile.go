package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// dockerfile reads one file as Docker does. What its linter warns of is a
// fault. It returns the last stage: what the image starts, and with what.
func dockerfile(file string) ([]Container, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	parsed, err := parser.Parse(bytes.NewReader(text))
	if err != nil {
		return nil, within(file, err)
	}
	var errs []error
	lint := linter.New(&linter.Config{Warn: func(rule, _, _, message string, at []parser.Range) {
		errs = append(errs, fmt.Errorf("%s: %s at %v", rule, message, at))
	}})
	stages, _, err := instructions.Parse(parsed.AST, lint)
	if err != nil {
		return nil, within(file, err)
	}
	for _, w := range parsed.Warnings {
		errs = append(errs, errors.New(w.Short))
	}
	if err := errors.Join(append(errs, froms(stages))...); err != nil {
		return nil, within(file, err)
	}
	return []Container{lastStage(file, stages[len(stages)-1])}, nil
}

// froms: files are copied from stages that exist.
func froms(stages []instructions.Stage) error {
	var names []string
	var errs []error
	for _, s := range stages {
		for _, c := range s.Commands {
			if c, ok := c.(*instructions.CopyCommand); ok && c.From != "" && !slices.Contains(names, c.From) {
				errs = append(errs, fmt.Errorf("files are copied from %q, which is no stage before: use any of %q", c.From, names))
			}
		}
		names = append(names, s.Name)
	}
	return errors.Join(errs...)
}

func lastStage(file string, s instructions.Stage) Container {
	c := Container{File: file, Name: s.Name, Image: s.BaseName}
	for _, command := range s.Commands {
		switch command := command.(type) {
		case *instructions.CmdCommand:
			c.Command = command.CmdLine
		case *instructions.EnvCommand:
			for _, kv := range command.Env {
				c.Env = append(c.Env, Var{Name: kv.Key, Value: kv.Value})
			}
		case *instructions.ExposeCommand:
			c.Ports = append(c.Ports, command.Ports...)
		case *instructions.WorkdirCommand:
			c.Dir = command.Path
		}
	}
	return c
}
