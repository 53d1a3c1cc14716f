package runner

import (
	"bytes"
	"fmt"
	"os"
	"strings"
)

// procStart is when a living process was started, in the kernel's ticks: with
// the pid it names one process. It is "" for a pid that is free, or a zombie's.
func procStart(pid int) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	// pid (name) state ppid …: the name may hold spaces and brackets.
	i := bytes.LastIndexByte(b, ')')
	if i < 0 {
		return ""
	}
	const state, starttime = 0, 19 // fields 3 and 22, counted after the name
	fields := strings.Fields(string(b[i+1:]))
	if len(fields) <= starttime || fields[state] == "Z" || fields[state] == "X" {
		return ""
	}
	return fields[starttime]
}
