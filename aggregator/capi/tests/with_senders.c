// Starts two senders and runs a program with their names and sources as its last arguments:
//
//     with_senders ./packets 30     runs     ./packets 30 left rtp://127.0.0.1:PORT right rtp://127.0.0.1:PORT
#define _GNU_SOURCE
#include "support.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv) {
    char *arguments[16] = {NULL};
    CHECK(argc >= 2 && argc < 10, "usage: with_senders PROGRAM [ARGUMENT]...");
    Sender left = start_sender("left", USUAL), right = start_sender("right", USUAL);
    for (int n = 1; n < argc; n++) arguments[n - 1] = argv[n];
    char *of_senders[] = {"left", left.source, "right", right.source};
    memcpy(&arguments[argc - 1], of_senders, sizeof of_senders);
    const pid_t program = fork();
    CHECK(program >= 0, "no process");
    if (program == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        execv(arguments[0], arguments);
        _exit(127);
    }
    int status = -1;
    CHECK(waitpid(program, &status, 0) == program, "no such program");
    kill_sender(&left);
    kill_sender(&right);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
