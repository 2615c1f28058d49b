"""Media families, one file each: how many tokens a picture, a film or a sound becomes, and what stands around them.

The folder is the registry; a file's name is what cards call `media.family`. A file has a function for each kind of
medium that its family takes: `picture`, `film`, `sound`, from the medium's size and the `Grounds` to spans.
"""
