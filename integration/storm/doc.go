// Package storm runs experiments on elections: a claim, a matrix of transports,
// networks and faults, as many seeds as it takes, and what is expected of the results.
// Everything that it reports follows from a specification and its seeds.
//
// parse.go reads specifications and says where they are wrong, dimensions.go lists what a
// matrix may vary, matrix.go expands one, expect.go evaluates expectations.
package storm
