"""The site's configuration: Python in syntax, data in effect; parsed, validated in one go, then frozen."""
