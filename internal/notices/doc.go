// Notices writes the licenses of everything that is linked into programs, for
// whoever hands the programs on: most licenses ask for their text to go with
// every copy.
//
//	notices -o FILE MODFILE=PACKAGE...
//
// Each program is a package and the module file that it is built with. The
// texts come from the modules themselves: files called LICENSE, COPYING, NOTICE
// or PATENTS, in the root of a module and in the folders of its linked packages.
// Equal texts are written once. A module without any in its root is an error: it
// cannot be handed on before somebody has looked at it.
package main
