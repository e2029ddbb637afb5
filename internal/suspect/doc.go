// Package suspect says from signs of life, and from when they were missing, for how
// long another member may be silent before it is to be suspected (protocol §4). The
// detector of views and the arbiter of elections share it. It is pure: every input
// comes with its time.
package suspect
