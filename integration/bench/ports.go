package bench

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/raftdv/dv/raftdv"
)

// port is something that can be compared with rafthttp.
type port struct {
	name string
	// make returns a new system; spin is for those that can poll.
	make  func(spin time.Duration) *system
	spins bool
	// seals: it can be compared over TLS.
	seals bool
	// raft: raft can live on it.
	raft bool
	// usual: it is compared when nothing is named, by `transport` and `raft`.
	usual, usualRaft bool
}

// ports in the order in which they are listed.
var ports = []port{
	{name: raftdv.FabricShm, make: dvPort(raftdv.FabricShm), spins: true, seals: true, raft: true, usual: true, usualRaft: true},
	{name: raftdv.FabricUDP, make: dvPort(raftdv.FabricUDP), spins: true, seals: true, raft: true, usual: true, usualRaft: true},
	{name: raftdv.FabricStream, make: dvPort(raftdv.FabricStream), spins: true, seals: true, raft: true, usual: true, usualRaft: true},
	{name: PortGRPC, make: fixed(grpcSystem), seals: true, raft: true, usual: true},
	{name: PortTCP, make: fixed(tcpSystem), seals: true, raft: true, usual: true},
	{name: PortRawUDP, make: fixed(rawUDPSystem)},
	{name: PortRafthttp, make: stockAgain, spins: true, seals: true, raft: true},
}

func dvPort(name string) func(time.Duration) *system {
	return func(spin time.Duration) *system { return dvSystem(name, raftdv.Config{Spin: spin}) }
}

func fixed(make func() *system) func(time.Duration) *system {
	return func(time.Duration) *system { return make() }
}

func stockAgain(time.Duration) *system { return stockSystem("rafthttp again") }

// findPort returns false if there is none of that name.
func findPort(name string) (port, bool) {
	i := slices.IndexFunc(ports, func(p port) bool { return p.name == name })
	if i < 0 {
		return port{}, false
	}
	return ports[i], true
}

// portNames are those that pick takes.
func portNames(pick func(port) bool) (names []string) {
	for _, p := range ports {
		if pick(p) {
			names = append(names, p.name)
		}
	}
	return names
}

// TransportPorts are all that RunTransport knows; RaftPorts all that RunRaft
// does.
func TransportPorts() []string { return portNames(func(port) bool { return true }) }

// RaftPorts: see TransportPorts.
func RaftPorts() []string { return portNames(func(p port) bool { return p.raft }) }

// DefaultTransportPorts and DefaultRaftPorts are those of a Config that names
// none.
func DefaultTransportPorts() []string { return portNames(func(p port) bool { return p.usual }) }

// DefaultRaftPorts: see DefaultTransportPorts.
func DefaultRaftPorts() []string { return portNames(func(p port) bool { return p.usualRaft }) }

// checkPorts lists names that are not in known, and those named twice.
func checkPorts(names, known []string) (errs []error) {
	for i, name := range names {
		if !slices.Contains(known, name) {
			errs = append(errs, fmt.Errorf("port %q is unknown here: use any of %s", name, strings.Join(known, ", ")))
		}
		if slices.Contains(names[:i], name) {
			errs = append(errs, fmt.Errorf("port %q is named twice: name it once", name))
		}
	}
	return errs
}

// checkSealed lists what is wrong with a value of Sealed for these ports.
func checkSealed(sealed string, names []string) (errs []error) {
	if all := []string{SealedBoth, Clear, Sealed}; !slices.Contains(all, sealed) {
		return []error{fmt.Errorf("sealed=%q is unknown: use %s", sealed, strings.Join(all, ", "))}
	}
	for _, name := range names {
		if p, ok := findPort(name); ok && sealed == Sealed && !p.seals {
			errs = append(errs, fmt.Errorf("port %q encrypts nothing: use sealed=%s or %s, or leave it out", name, Clear, SealedBoth))
		}
	}
	return errs
}

// seals lists whether to seal, clear first, for one port.
func seals(sealed, name string) (both []bool) {
	if sealed != Sealed {
		both = append(both, false)
	}
	if p, _ := findPort(name); sealed != Clear && p.seals {
		both = append(both, true)
	}
	return both
}
