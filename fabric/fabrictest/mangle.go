package fabrictest

import (
	"bytes"
	"slices"

	"github.com/raftdv/dv/fabric"
)

// mangled is what bytes look like whose time is over.
const mangled = 0xdb

// Mangle returns a handler that hands on to h copies of all bytes, and
// overwrites them when the call has returned: a handler that keeps bytes
// beyond the call (duty 2 of package fabric) then reads garbage, on every port.
func Mangle(h fabric.Handler) fabric.Handler { return mangler{h} }

type mangler struct{ fabric.Handler }

func (m mangler) Deliver(from fabric.MemberID, frames []fabric.Frame) {
	copies := slices.Clone(frames)
	for i := range copies {
		f := &copies[i]
		for _, b := range frameBytes(f) {
			*b = bytes.Clone(*b)
		}
	}
	m.Handler.Deliver(from, copies)
	for i := range copies {
		f := &copies[i]
		for _, b := range frameBytes(f) {
			scribble(*b)
		}
		f.Header = fabric.Header{}
	}
}

func (m mangler) Row(from fabric.MemberID, row fabric.Row) {
	row.Sections = bytes.Clone(row.Sections)
	m.Handler.Row(from, row)
	scribble(row.Sections)
}

func (m mangler) Resolve(settled []fabric.Resolution) {
	copies := slices.Clone(settled)
	m.Handler.Resolve(copies)
	clear(copies)
}

func frameBytes(f *fabric.Frame) [5]*[]byte {
	return [...]*[]byte{&f.Patch, &f.Body, &f.Seal, &f.Destinations, &f.Extensions}
}

func scribble(b []byte) {
	for i := range b {
		b[i] = mangled
	}
}
