package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
)

// dataPath is where every member keeps what must outlive its container.
const dataPath = "/var/lib/etcd"

// compose loads one file against compose's schema and checks what the schema
// knows nothing of.
func compose(file string) ([]Container, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	project, err := loader.LoadWithContext(context.Background(), types.ConfigDetails{
		WorkingDir:  filepath.Dir(file),
		ConfigFiles: []types.ConfigFile{{Filename: file, Content: text}},
		Environment: types.NewMapping(os.Environ()),
	})
	if err != nil {
		return nil, within(file, err)
	}
	var all []Container
	var errs []error
	for _, name := range project.ServiceNames() {
		s := project.Services[name]
		errs = append(errs, checkService(s))
		all = append(all, composed(file, s))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, within(file, err)
	}
	return all, nil
}

// checkService: data outlives the container, health is asked for, and the peer
// port is published for both protocols under its own number or not at all.
func checkService(s types.ServiceConfig) error {
	var errs []error
	if !slices.ContainsFunc(s.Volumes, func(v types.ServiceVolumeConfig) bool { return v.Target == dataPath && v.Source != "" }) {
		errs = append(errs, fmt.Errorf("service %s: no volume at %s", s.Name, dataPath))
	}
	if s.HealthCheck == nil || len(s.HealthCheck.Test) < 2 || s.HealthCheck.Test[0] != "CMD" {
		errs = append(errs, fmt.Errorf("service %s: no health check by CMD (the image has no shell)", s.Name))
	}
	published := map[string]string{}
	for _, p := range s.Ports {
		if p.Target == 2380 {
			published[p.Protocol] = p.Published
		}
	}
	if len(published) > 0 && (published["tcp"] != "2380" || published["udp"] != "2380") {
		errs = append(errs, fmt.Errorf("service %s: the peer port is published as %v: publish 2380 for tcp and udp", s.Name, published))
	}
	return errors.Join(errs...)
}

func composed(file string, s types.ServiceConfig) Container {
	c := Container{File: file, Name: s.Name, Image: s.Image, Command: append(slices.Clone(s.Entrypoint), s.Command...)}
	for name, value := range s.Environment {
		v := Var{Name: name}
		if value != nil {
			v.Value = *value
		}
		c.Env = append(c.Env, v)
	}
	slices.SortFunc(c.Env, func(a, b Var) int { return strings.Compare(a.Name, b.Name) })
	if s.HealthCheck != nil && len(s.HealthCheck.Test) > 1 {
		c.Check = s.HealthCheck.Test[1:]
	}
	return c
}
