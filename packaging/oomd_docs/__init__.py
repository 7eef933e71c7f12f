"""Man pages and shell completion, made from the records that the program itself reads.

    PYTHONPATH=TREE:TREE/packaging python3 -m oomd_docs man FOLDER
    PYTHONPATH=TREE:TREE/packaging python3 -m oomd_docs completion FOLDER

For builds and tests: nothing of this is installed.
"""
