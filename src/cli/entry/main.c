// The nibble binary. Everything is in the library behind it, so that tests can call commands too.
#include "cli/commands.h"

int main(int argc, char **argv)
{
    return nb_cli_main(argc, argv);
}
