//go:build race

package sticky

const raceEnabled = true
