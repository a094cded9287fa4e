"""`python -m respond_async`: the command line where the console script is not on the PATH."""

from respond_async.command.entry import main

if __name__ == "__main__":
    main()
