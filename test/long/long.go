// Package long says how much the tests that try random or repeated things should try: little in
// make test, much in make test-long, which sets MANEKI_LONG.
package long

import "os"

// Or returns the number for a long run, and otherwise the normal one.
func Or(long, normal int) int {
	if os.Getenv("MANEKI_LONG") != "" {
		return long
	}
	return normal
}
