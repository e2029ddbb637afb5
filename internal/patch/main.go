package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
)

// A list is a flag that may be given several times.
type list []string

func (l *list) String() string     { return strings.Join(*l, ",") }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "patch:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	var o Options
	fs := flag.NewFlagSet("patch", flag.ExitOnError)
	fs.StringVar(&o.Root, "root", "", "folder of the main module's go.mod (default: found from the working folder)")
	fs.StringVar(&o.Dir, "dir", "", "folder for the server's copy (default ROOT/.build)")
	fs.StringVar(&o.ModFile, "out", "", "module file to write (default DIR/go.mod)")
	fs.Var((*list)(&o.Require), "require", "further module@version for the module file; may be repeated")
	fs.Var((*list)(&o.Replace), "replace", "further old=new for the module file; may be repeated")
	quiet := fs.Bool("q", false, "print nothing unless a copy is made")
	fs.Parse(args)
	if fs.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	if err := o.locate(); err != nil {
		return err
	}
	r, err := Generate(ctx, o)
	if err != nil {
		return err
	}
	if r.Fresh || !*quiet {
		fmt.Printf("etcd server %s with the transport hook: %s\nuse: go build -modfile=%s\n", r.Version, r.ServerDir, r.ModFile)
	}
	return nil
}

// locate makes all paths absolute and finds the main module.
func (o *Options) locate() error {
	if o.Root == "" {
		out, err := goTool(context.Background(), "", "env", "GOMOD")
		if err != nil {
			return err
		}
		mod := strings.TrimSpace(string(out))
		if mod == "" || mod == os.DevNull {
			return fmt.Errorf("no go.mod here or above: run inside of the module, or say -root")
		}
		o.Root = filepath.Dir(mod)
	}
	for _, p := range []*string{&o.Root, &o.Dir, &o.ModFile} {
		if *p == "" {
			continue
		}
		abs, err := filepath.Abs(*p)
		if err != nil {
			return err
		}
		*p = abs
	}
	return nil
}
