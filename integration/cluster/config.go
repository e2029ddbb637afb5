package cluster

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"time"
)

const (
	defaultSize         = 3
	defaultStartTimeout = time.Minute
	defaultStopTimeout  = 20 * time.Second
)

// Config describes a cluster. Binary is required; the zero value of every
// other field is its default.
type Config struct {
	// Binary is the etcd or etcd-dv to run.
	Binary string
	// Dir is a folder for everything of the cluster. Close removes what the
	// cluster made in it. Default: a new temporary folder, removed whole.
	Dir string
	// Size is the number of members. Default 3.
	Size int
	// TLS gives peers and clients certificates of a CA that is made for this
	// cluster and demands them (mutual TLS).
	TLS bool
	// Args are appended to the arguments of every member.
	Args []string
	// Env is added to the environment of every member. ETCD_* variables of
	// this process are not passed on.
	Env map[string]string
	// Place says where member i runs, counted from 0, whose folder is dir. Default:
	// on loopback, without a command before it. Not with TLS, whose certificates
	// name loopback alone.
	Place func(i int, dir string) (Place, error)
	// StartTimeout bounds how long a start may take. Default 1m.
	StartTimeout time.Duration
	// StopTimeout is how long a member may take to stop before it is killed.
	// Default 20s.
	StopTimeout time.Duration
}

// A Place is where a member runs. The zero value is this host's loopback.
type Place struct {
	// Host is the address of its URLs. Default 127.0.0.1.
	Host string
	// Command stands before the member's program. It must become that program
	// (exec), so that its process id is the member's.
	Command []string
	// Socket is the path of a unix socket for clients, who then need no network to
	// the member.
	Socket string
}

func (p Place) host() string { return cmp.Or(p.Host, "127.0.0.1") }

func (c Config) withDefaults() Config {
	if c.Size == 0 {
		c.Size = defaultSize
	}
	if c.StartTimeout == 0 {
		c.StartTimeout = defaultStartTimeout
	}
	if c.StopTimeout == 0 {
		c.StopTimeout = defaultStopTimeout
	}
	return c
}

// Validate returns all faults at once.
func (c Config) Validate() error {
	var errs []error
	if info, err := os.Stat(c.Binary); err != nil {
		errs = append(errs, fmt.Errorf("no Binary to run: %w: build it first (make build)", err))
	} else if info.IsDir() || info.Mode()&0o111 == 0 {
		errs = append(errs, fmt.Errorf("the Binary %s cannot be run: name an etcd or etcd-dv", c.Binary))
	}
	if c.Size < 0 {
		errs = append(errs, fmt.Errorf("Size is %d: use 1 or more", c.Size))
	}
	if c.TLS && c.Place != nil {
		errs = append(errs, errors.New("Place cannot be had with TLS: the certificates name loopback alone"))
	}
	if c.StartTimeout < 0 || c.StopTimeout < 0 {
		errs = append(errs, errors.New("StartTimeout and StopTimeout cannot be negative: 0 stands for the default"))
	}
	return errors.Join(errs...)
}

// environ is this process's environment without any etcd setting, plus add.
func environ(add map[string]string) []string {
	env := slices.DeleteFunc(os.Environ(), func(kv string) bool {
		return len(kv) >= 5 && kv[:5] == "ETCD_"
	})
	for _, k := range slices.Sorted(maps.Keys(add)) {
		env = append(env, k+"="+add[k])
	}
	return env
}
