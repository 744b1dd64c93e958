"""`python -m allcores [-m module | script.py] args…`: runs a program on this package."""

from allcores._run import main

if __name__ == "__main__":
    main()
