package fault

import "github.com/raftdv/dv/fabric"

// ControllerOf returns the controller of a wrapped port.
func ControllerOf(p fabric.Port) *Controller {
	switch p := p.(type) {
	case *Port:
		return p.c
	case statsPort:
		return p.c
	}
	return nil
}
