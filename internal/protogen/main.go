package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/protoutil"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/pluginpb"
)

// plugins make the code, each of its own part.
var plugins = []string{"protoc-gen-go", "protoc-gen-go-grpc"}

// parameter keeps the code beside the protobuf file.
const parameter = "paths=source_relative"

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: protogen FILE.proto")
		os.Exit(2)
	}
	if err := generateHere(context.Background(), os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "protogen:", err)
		os.Exit(1)
	}
}

// generateHere names the file as seen from the top of the module: all protobuf
// files of a process have different names.
func generateHere(ctx context.Context, file string) error {
	top, err := moduleTop()
	if err != nil {
		return err
	}
	here, err := filepath.Abs(file)
	if err != nil {
		return err
	}
	name, err := filepath.Rel(top, here)
	if err != nil {
		return err
	}
	return generate(ctx, top, filepath.ToSlash(name))
}

func moduleTop() (string, error) {
	dir, err := os.Getwd()
	for err == nil {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			err = errors.New("no go.mod in this folder or above it")
		}
		dir = up
	}
	return "", err
}

// generate writes the code of top/name beside it.
func generate(ctx context.Context, top, name string) error {
	request, err := parse(ctx, top, name)
	if err != nil {
		return err
	}
	in, err := proto.Marshal(request)
	if err != nil {
		return err
	}
	for _, plugin := range plugins {
		if err := run(ctx, top, plugin, in); err != nil {
			return fmt.Errorf("%s: %w", plugin, err)
		}
	}
	return nil
}

// parse makes the request that plugins read: the file with all that it imports,
// before those that import it.
func parse(ctx context.Context, top, name string) (*pluginpb.CodeGeneratorRequest, error) {
	c := protocompile.Compiler{
		Resolver:       protocompile.WithStandardImports(&protocompile.SourceResolver{ImportPaths: []string{top}}),
		SourceInfoMode: protocompile.SourceInfoStandard, // comments become comments
	}
	files, err := c.Compile(ctx, name)
	if err != nil {
		return nil, err
	}
	r := &pluginpb.CodeGeneratorRequest{FileToGenerate: []string{name}, Parameter: new(parameter)}
	addFile(r, files[0], map[string]bool{})
	return r, nil
}

func addFile(r *pluginpb.CodeGeneratorRequest, f protoreflect.FileDescriptor, seen map[string]bool) {
	if seen[f.Path()] {
		return
	}
	seen[f.Path()] = true
	for i := range f.Imports().Len() {
		addFile(r, f.Imports().Get(i).FileDescriptor, seen)
	}
	r.ProtoFile = append(r.ProtoFile, protoutil.ProtoFromFileDescriptor(f))
}

// run writes what one plugin makes of the request.
func run(ctx context.Context, top, plugin string, in []byte) error {
	cmd := exec.CommandContext(ctx, "go", "tool", plugin)
	cmd.Stdin, cmd.Stderr = bytes.NewReader(in), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return err
	}
	var answer pluginpb.CodeGeneratorResponse
	if err := proto.Unmarshal(out, &answer); err != nil {
		return err
	}
	if answer.Error != nil {
		return errors.New(answer.GetError())
	}
	for _, f := range answer.GetFile() {
		if err := os.WriteFile(filepath.Join(top, filepath.FromSlash(f.GetName())), []byte(f.GetContent()), 0o644); err != nil {
			return err
		}
	}
	return nil
}
