# SPDX-License-Identifier: Apache-2.0
# KL against bytes on text and questions that chose nothing: recipes, mixes, formats.
#   gnuplot -e "out='F.svg'" notebooks_data/plots/sensitivity_pareto.gp
if (!exists("out")) out = 'sensitivity_pareto.svg'
if (!exists("table")) table = 'notebooks_data/results/sensitivity/held_out_points.csv'
set terminal svg size 1200,700 font 'sans,14' background rgb 'white' noenhanced
set output out
set datafile separator ','
# what stands close to others has its name above or below
below(z) = w('mix') && strstrt('q4_k_s q5_k_s q5_k_m', strcol(5)) > 0
close(z) = (w('mix') && !below(0)) || (w('model') && strcol(5) eq 'iq4_xs')
w(by) = strcol(1) eq by && strcol(3) eq 'weights' && strcol(9) eq 'all'
set title 'KL against the size of the text model, held-out data (miniature)'
set xlabel 'bytes, millions (q8_0, at 6.1, is further to the right)'
set ylabel 'KL to float32, nats a token'
set logscale y
set format y '%.0e'
set xrange [1.7:5]
set yrange [3e-5:0.3]
set grid lc rgb '#dddddd'
set key top right
plot table using (w('model') ? $8 / 1e6 : NaN):12:13:14 with yerrorbars lc rgb '#888888' pt 6 \
     lw 1.4 title 'one format', \
     '' using (w('model') && !close(0) ? $8 / 1e6 : NaN):12:5 with labels left offset char 0.8,0 \
     font ',11' notitle, \
     '' using (close(0) ? $8 / 1e6 : NaN):14:5 with labels rotate by 90 left offset char 0,0.5 \
     font ',11' notitle, \
     '' using (below(0) ? $8 / 1e6 : NaN):13:5 with labels rotate by 90 right \
     offset char 0,-0.5 font ',11' notitle, \
     '' using (w('mix') ? $8 / 1e6 : NaN):12:13:14 with yerrorbars lc rgb '#1b6ca8' pt 7 lw 1.4 \
     title "llama.cpp's mixes", \
     '' using (w('recipe') ? $8 / 1e6 : NaN):12:13:14 with yerrorbars lc rgb '#b02a37' pt 9 ps 1.3 \
     lw 1.8 title 'chosen by sensitivity'
