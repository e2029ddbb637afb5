package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
)

// A Container is what a manifest starts.
type Container struct {
	File    string   `json:"file"`
	Name    string   `json:"name"`
	Image   string   `json:"image"`
	Command []string `json:"command"`         // with its arguments; empty: the image's
	Env     []Var    `json:"env"`             // in the order of the file
	Ports   []string `json:"ports,omitempty"` // of a Dockerfile
	Dir     string   `json:"dir,omitempty"`   // of a Dockerfile
	// Check is the command of a health check.
	Check []string `json:"check,omitempty"`
}

// A Var is a variable. Field is where its value comes from, if not from the
// manifest.
type Var struct {
	Name  string `json:"name"`
	Value string `json:"value"`
	Field string `json:"field,omitempty"`
}

func main() {
	if len(os.Args) < 3 {
		fail(errors.New("name a kind and files, as in: manifests kubernetes FILE"))
	}
	read := map[string]func(string) ([]Container, error){"kubernetes": kubernetes, "compose": compose, "dockerfile": dockerfile}[os.Args[1]]
	if read == nil {
		fail(fmt.Errorf("%q is no kind of manifest: use kubernetes, compose or dockerfile", os.Args[1]))
	}
	var all []Container
	var errs []error
	for _, file := range os.Args[2:] {
		containers, err := read(file)
		all, errs = append(all, containers...), append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		fail(err)
	}
	if err := json.NewEncoder(os.Stdout).Encode(all); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
