package simulate

import (
	"math"
	"time"

	"github.com/anishathalye/porcupine"
)

// porcupineTimeout bounds the search in real time. It is not reached: what is
// unknown is all that makes it long, and unseen does away with most of that.
const porcupineTimeout = 30 * time.Second

// registers is the sequential specification: one register a partition.
var registers = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		parts := make([][]porcupine.Operation, keys)
		for _, op := range history {
			k := op.Input.(*call).key
			parts[k] = append(parts[k], op)
		}
		return parts
	},
	Init: func() any { return uint64(0) },
	Step: func(state, input, output any) (bool, any) {
		if c := input.(*call); c.put {
			return true, c.number
		}
		return output.(uint64) == state.(uint64), state
	},
}

// linearizable: the history of the calls is one of registers.
func (cs *clients) linearizable() {
	switch porcupine.CheckOperationsTimeout(registers, cs.history(), porcupineTimeout) {
	case porcupine.Illegal:
		cs.c.fail(checkLinear, "the history of %d calls is not linearizable", len(cs.calls))
	case porcupine.Unknown:
		cs.c.fail(checkLinear, "the history of %d calls could not be checked within %v", len(cs.calls), porcupineTimeout)
	}
}

// history leaves out what has no bearing: gets without an answer, and puts
// without one whose value nobody got. Such a put can be linearized at the end if
// anywhere: no get stands between it and the next put.
func (cs *clients) history() (ops []porcupine.Operation) {
	seen := map[uint64]bool{}
	for _, c := range cs.calls {
		if !c.put && c.end != 0 {
			seen[c.got] = true
		}
	}
	for _, c := range cs.calls {
		end := c.end
		if end == 0 {
			if !c.put || !seen[c.number] {
				continue
			}
			end = math.MaxInt64
		}
		ops = append(ops, porcupine.Operation{ClientId: c.client, Input: c, Call: c.begun, Output: c.got, Return: end})
	}
	return ops
}
